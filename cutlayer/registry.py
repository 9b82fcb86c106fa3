"""The lists of what can be named: strings only, so that listing names imports nothing.

Adding an attack, a defense, a codec, a data set, a model, a metric or a transport is one new file and one line here.
"""

import difflib
import importlib
import inspect
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from cutlayer.errors import ConfigError


def near(name: str, known: Iterable[str]) -> str:
    """The part of an error message that lists what exists, the nearest names first."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(known)}." if known else "there are none."


_PLAIN = (bool, int, float, str)
"""Types of the options that a plan can state and `check_type` checks."""


class Registry(Mapping[str, str]):
    """Names of one kind of thing and where each is defined, as ``module:attribute``."""

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> str:
        if name not in self._entries:
            raise ConfigError(f"There is no {self.kind} named {name!r}; {near(name, self._entries)}")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, name: str) -> Any:
        """Import and return what the name stands for.

        Raises:
            ConfigError: The name is unknown, or a package that its module imports is not installed.
        """
        module, _, attribute = self[name].partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"The {self.kind} {name!r} needs the package {error.name!r}, which is not installed; install it, or "
                f"choose another {self.kind}."
            ) from error

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """The options that `make` accepts for this name, with their defaults; none for what is not built, a metric."""
        target = self.load(name)
        return dict(inspect.signature(target, eval_str=True).parameters) if callable(target) else {}

    def summary(self, name: str) -> str:
        """One line for `cutlayer list`: what it is, and the defaults of its options where it is built from options."""
        target = self.load(name)
        line = getattr(target, "explanation", None) or (inspect.getdoc(target) or "").partition("\n")[0]
        options = self.options(name).values()
        if not options or any(p.default is p.empty and p.annotation not in _PLAIN for p in options):
            return line
        return f"{line} [{', '.join(f'{p.name}={_shown(p.default)}' for p in options)}]"

    def make(self, name: str, **options: Any) -> Any:
        """Build the named thing from its options.

        Raises:
            ConfigError: The name or an option is unknown, or a value has the wrong type.
        """
        target, accepted = self.load(name), self.options(name)
        for option, value in options.items():
            if option not in accepted:
                raise ConfigError(f"The {self.kind} {name!r} has no option {option!r}; {near(option, accepted)}")
            check_type(f"{name}.{option}", accepted[option].annotation, value)
        missing = [o for o, p in accepted.items() if p.default is p.empty and o not in options]
        if missing:
            raise ConfigError(f"The {self.kind} {name!r} needs the option {missing[0]!r}.")
        return target(**options)


def _shown(default: Any) -> str:
    if default is inspect.Parameter.empty:
        return "?"
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def check_type(where: str, annotation: Any, value: Any) -> None:
    """Reject a value that contradicts a plain annotation: bool, int, float or str, each perhaps ``| None``.

    Raises:
        ConfigError: The type is wrong, or a number is not finite.
    """
    kinds = [kind for kind in (get_args(annotation) or (annotation,)) if kind is not type(None)]
    if not all(kind in _PLAIN for kind in kinds):
        return
    fits = any(
        isinstance(value, (int, float) if kind is float else kind) and (kind is bool or not isinstance(value, bool))
        for kind in kinds
    )
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise ConfigError(f"{where} must be of type {kinds[0].__name__}, not {value!r}.")


CODECS = Registry(
    "codec",
    {
        "raw": "cutlayer.wire.codecs.raw:Raw",
        "fp16": "cutlayer.wire.codecs.fp16:Float16",
        "bf16": "cutlayer.wire.codecs.bf16:BFloat16",
        "int8": "cutlayer.wire.codecs.int8:Int8",
        "int4": "cutlayer.wire.codecs.int4:Int4",
        "top-k": "cutlayer.wire.codecs.top_k:TopK",
        # These two pack the bytes of another codec, as in int8+zstd: see `cutlayer.wire.codecs.packed`.
        "shuffle": "cutlayer.wire.codecs.shuffle:Shuffle",
        "zstd": "cutlayer.wire.codecs.zstd:Zstd",
    },
)

TRANSPORTS = Registry(
    "transport",
    {
        "grpc": "cutlayer.wire.grpc.scheme:GRPC",
        "zmq": "cutlayer.wire.zmq.scheme:ZMQ",
        "oip+grpc": "cutlayer.wire.grpc.scheme:OPEN_INFERENCE",
        "inprocess": "cutlayer.wire.inprocess:IN_PROCESS",
    },
)

DATASETS = Registry(
    "dataset",
    {
        "digits": "cutlayer.data.digits:load",
        "photos": "cutlayer.data.photos:load",
        "photographs": "cutlayer.data.photographs:load",
        "faces": "cutlayer.data.faces:load",
        "mnist": "cutlayer.data.mnist:load_mnist",
        "fashion-mnist": "cutlayer.data.mnist:load_fashion_mnist",
        "cifar10": "cutlayer.data.cifar:load_cifar10",
        "cifar100": "cutlayer.data.cifar:load_cifar100",
        "lfw": "cutlayer.data.people:load_lfw",
        "lfw-32": "cutlayer.data.people:load_lfw32",
        "att-faces": "cutlayer.data.people:load_att",
        "random": "cutlayer.data.noise:load",
    },
)

_TORCHVISION = [
    "vgg11_bn", "resnet18", "mobilenet_v2", "mobilenet_v3_small",
    "efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t",
]  # fmt: skip

MODELS = Registry(
    "model",
    {
        "he_lenet": "cutlayer.models.he2019:lenet",
        "he_cifar10cnn": "cutlayer.models.he2019:cifar10cnn",
        "resnet20": "cutlayer.models.resnet20:resnet20",
        "vgg11_slim": "cutlayer.models.vgg11:vgg11_slim",
        **{name: f"cutlayer.models.zoo:{name}" for name in _TORCHVISION},
    },
)

METRICS = Registry(
    "metric",
    {
        "mse": "cutlayer.metrics.image:MSE",
        "psnr": "cutlayer.metrics.image:PSNR",
        "ssim": "cutlayer.metrics.image:SSIM",
        "identification": "cutlayer.metrics.identification:IDENTIFICATION",
    },
)

DEFENSES = Registry(
    "defense",
    {
        "none": "cutlayer.defenses.base:Defense",
        "gaussian-noise": "cutlayer.defenses.gaussian_noise:GaussianNoise",
        "laplace-noise": "cutlayer.defenses.laplace_noise:LaplaceNoise",
        "local-dp": "cutlayer.defenses.local_dp:LocalDP",
        "dropout": "cutlayer.defenses.dropout:Dropout",
        "top-k": "cutlayer.defenses.top_k:TopK",
        "quantize": "cutlayer.defenses.quantize:Quantize",
        "shredder": "cutlayer.defenses.shredder:Shredder",
        "ressfl": "cutlayer.defenses.ressfl:ResSFL",
        "patrol": "cutlayer.defenses.patrol:Patrol",
        "adversarial": "cutlayer.defenses.adversarial:Adversarial",
        "nopeek": "cutlayer.defenses.nopeek:NoPeek",
        "bido": "cutlayer.defenses.bido:BiDO",
        "cem": "cutlayer.defenses.cem:Cem",
        "mid": "cutlayer.defenses.mid:Mid",
        "crafter": "cutlayer.defenses.crafter:Crafter",
        "crafter-z": "cutlayer.defenses.crafter_z:CrafterZ",
        "crafter-distilled": "cutlayer.defenses.crafter_distilled:CrafterDistilled",
    },
)

ATTACKS = Registry(
    "attack",
    {
        "generator": "cutlayer.attacks.features.generator:Generator",
        "mean-image": "cutlayer.attacks.features.mean_image:MeanImage",
        "nearest": "cutlayer.attacks.features.nearest:Nearest",
        "ridge": "cutlayer.attacks.features.ridge:Ridge",
        "decoder": "cutlayer.attacks.features.decoder:Decoder",
        "white-box": "cutlayer.attacks.features.white_box:WhiteBox",
        "averaging": "cutlayer.attacks.features.averaging:Averaging",
        "mask-aware": "cutlayer.attacks.features.mask_aware:MaskAware",
    },
)


def defense_from(description: Mapping[str, Any]) -> Any:
    """Build the defense that ``{"name": ..., **options}`` describes; `then` describes the one that follows it.

    Raises:
        ConfigError: A name or an option is unknown, or a value has the wrong type.
    """
    options = dict(description)
    if not isinstance(options.get("name"), str):
        raise ConfigError("A defense needs a name; write one of `cutlayer list defenses` as its `name`.")
    name, then = options.pop("name"), options.pop("then", None)
    defense = DEFENSES.make(name, **options)
    return defense.then(defense_from(then)) if then else defense
