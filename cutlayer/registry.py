"""The lists of what can be named: strings only, so that listing names imports nothing.

Adding an attack, a defense, a codec, a data set, a model, a metric or a transport is one new file and one line here.
What is not part of cutlayer needs no line: see `cutlayer.own`.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, get_args, get_origin

from cutlayer import own
from cutlayer.errors import ConfigError, missing_package, near
from cutlayer.options import check

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_PLAIN = (bool, int, float, str)
"""Types of the options that a plan can state."""


class Registry(Mapping[str, str]):
    """Names of one kind of thing and where each is defined, as ``module:attribute``.

    As a mapping it holds the names that are part of cutlayer. Every method also takes ``package.module:attribute``,
    ``path/to/file.py:attribute``, and the names that installed packages offer as entry points of `group`.

    Args:
        kind: What the names stand for, for messages.
        entries: The names that are part of cutlayer.
        group: Group of the entry points.
        contract: What something of the user's own must be: the bases, and for each base the methods that it must
            define; ``a or b`` where either is enough. Without methods, it must be an instance of the base.
        families: For the beginning of a name, a function that returns what the rest of the name stands for.
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, str],
        group: str,
        contract: Mapping[str, tuple[str, ...]] | None = None,
        families: Mapping[str, str] | None = None,
    ) -> None:
        self.kind, self.group = kind, group
        self._entries, self._contract, self._families = dict(entries), contract or {}, families or {}

    def __getitem__(self, name: str) -> str:
        if name in self._entries:
            return self._entries[name]
        if own.is_own(name):
            return name
        points = own.offered(self.group)
        if name not in points:
            raise ConfigError(f"There is no {self.kind} named {name!r:.80}; {self._hint(name, points)}")
        if len(points[name]) > 1:
            choice = " or ".join(f"{point.value} of {_package(point)}" for point in points[name])
            raise ConfigError(f"Two packages offer the {self.kind} {name!r}; write {choice} in its place.")
        return points[name][0].value

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def takes(self, name: str) -> bool:
        """Whether the name is one of this kind; a file, a module or an attribute may still be missing."""
        return self._family(name) is not None or name in self._entries or own.is_own(name) or name in self.offered()

    def offered(self) -> dict[str, str]:
        """The names that installed packages offer, each with the packages; those of cutlayer are not among them."""
        points = own.offered(self.group).items()
        return {name: ", ".join(map(_package, of)) for name, of in points if name not in self._entries}

    def hidden(self) -> dict[str, str]:
        """The names of cutlayer that installed packages offer as well, each with what to write to get theirs."""
        points = own.offered(self.group).items()
        return {name: ", ".join(p.value for p in of) for name, of in points if name in self._entries}

    def is_own(self, name: str) -> bool:
        """Whether the name stands for something that is not part of cutlayer."""
        return name not in self._entries and (own.is_own(name) or name in own.offered(self.group))

    def label(self, name: str) -> str:
        """The name for a reader: ``Gray`` of ``/home/me/mine.py:Gray``."""
        return own.attribute(name) if name not in self._entries and own.is_own(name) else name

    def place(self, name: str) -> str:
        """The name without the folder of its file: ``mine.py:Gray``; equal wherever the file lies."""
        return own.place(name) if name not in self._entries else name

    def identity(self, name: str) -> str:
        """The name in the id of an experiment: for what is not part of cutlayer, with the hash of its source file.

        Raises:
            ConfigError: There is no such file or module.
        """
        return f"{own.place(name)}#{self.digest(name)}" if self.is_own(name) else name

    def digest(self, name: str) -> str:
        """SHA-256 of the source file of something of the user's own, in hex.

        Raises:
            ConfigError: There is no such file or module.
        """
        return own.digest(self[name])

    def load(self, name: str) -> Any:
        """Import and return what the name stands for.

        Raises:
            ConfigError: The name is unknown, a package that its module imports is not installed, or something of the
                user's own is not what its kind has to be.
        """
        try:
            if (family := self._family(name)) is not None:
                return _imported(self._families[family])(name.removeprefix(family))
            if not self.is_own(name):
                return _imported(self[name])
            target = own.load(self[name])
            self._check(name, target)
        except ModuleNotFoundError as error:
            raise ConfigError(f"The {self.kind} {name!r} cannot be used: {missing_package(error)}") from error
        return target

    def _hint(self, name: str, points: Iterable[str]) -> str:
        """What an error says of a name that is none: what is near, or what is known."""
        return near(name, [*self._entries, *points])

    def _family(self, name: str) -> str | None:
        return next((family for family in self._families if name.startswith(family)), None)

    def _check(self, name: str, target: Any) -> None:
        """Refuse something of the user's own that is not what its kind has to be."""
        if not self._contract:
            return
        for place, needed in self._contract.items():
            base = _imported(place)
            if not needed and isinstance(target, base):
                return
            if not (needed and isinstance(target, type) and issubclass(target, base)):
                continue
            for methods in needed:
                if all(getattr(target, method) is getattr(base, method) for method in methods.split(" or ")):
                    raise ConfigError(f"{name} is no {self.kind} yet: it lacks {methods.replace(' or ', '() or ')}().")
            bare = [option for option, kind in inspect.get_annotations(target).items() if "ClassVar" not in str(kind)]
            if (
                bare
                and "__dataclass_fields__" in vars(base)
                and not {"__init__", "__dataclass_fields__"} & {*vars(target)}
            ):
                options = ", ".join(bare)
                raise ConfigError(f"{name} has options ({options}): write @dataclass(kw_only=True) above its class.")
            return
        bases = " or ".join(place.replace(":", ".") for place in self._contract)
        what = "a class derived from" if any(self._contract.values()) else "an instance of"
        raise ConfigError(f"{name} is no {self.kind}: it must be {what} {bases}, and is {_described(target)}.")

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """The options that `make` accepts for this name, with their defaults; none for what is not built, a metric."""
        target = self.load(name)
        return dict(inspect.signature(target, eval_str=True).parameters) if callable(target) else {}

    def summary(self, name: str) -> str:
        """One line for `cutlayer list`: what it is, and the defaults of its options where it is built from options."""
        target = self.load(name)
        line = getattr(target, "explanation", None) or (inspect.getdoc(target) or "").partition("\n")[0]
        options = self.options(name).values()
        if not options or any(p.default is p.empty and _plain(p.annotation) not in _PLAIN for p in options):
            return line
        return f"{line} [{', '.join(f'{p.name}={_shown(p.default)}' for p in options)}]"

    def make(self, name: str, /, **options: Any) -> Any:
        """Build the named thing from its options.

        Raises:
            ConfigError: The name or an option is unknown, or a value has the wrong type or is out of its bounds.
        """
        target, accepted = self.load(name), self.options(name)
        for option, value in options.items():
            if option not in accepted:
                raise ConfigError(f"The {self.kind} {name!r} has no option {option!r:.80}; {near(option, accepted)}")
            check(f"{self.label(name)}.{option}", accepted[option].annotation, value)
        missing = [o for o, p in accepted.items() if p.default is p.empty and o not in options]
        if missing:
            raise ConfigError(f"The {self.kind} {name!r} needs the option {missing[0]!r}.")
        return target(**options)


class Missing:
    """Mixed into a class that is listed, and that cannot be built honestly.

    Attributes:
        explanation: The sentence that says why not; `Registry.summary` shows it.
    """

    explanation: ClassVar[str]

    def __new__(cls, *_: object, **__: object) -> Self:
        """Say why, before Python complains of what the class does not implement. Raises ConfigError."""
        raise ConfigError(cls.explanation)


class DataSets(Registry):
    """Data sets, which also have the path of a folder of images or of a file of arrays as their name."""

    def is_path(self, name: str) -> bool:
        """Whether the name is a path, and not that of a data set."""
        return not super().takes(name) and own.is_path(name)

    def resolved(self, name: str, folder: Path) -> str:
        """The name with its path made absolute, a relative one from this folder; other names as they are."""
        if super().takes(name) or not own.is_path(name, folder):
            return own.resolved(name, folder)
        return own.recordable(os.path.abspath(folder / Path(name).expanduser()))

    def __getitem__(self, name: str) -> str:
        return "cutlayer.data.path:reader" if self.is_path(name) else super().__getitem__(name)

    def takes(self, name: str) -> bool:
        """See `Registry`."""
        return self.is_path(name) or super().takes(name)

    def label(self, name: str) -> str:
        """See `Registry`; of a path the last part."""
        return os.path.basename(os.path.abspath(name)) if self.is_path(name) else super().label(name)

    def identity(self, name: str) -> str:
        """See `Registry`; of a path the hash of the content of all files there, wherever they lie.

        Raises:
            DataError: There is nothing at the path.
        """
        if not self.is_path(name):
            return super().identity(name)
        return f"path#{_imported('cutlayer.data.path:identity')(Path(name))}"

    def load(self, name: str) -> Any:
        """See `Registry`."""
        return _imported(self[name])(name) if self.is_path(name) else super().load(name)


class Models(Registry):
    """Models, which also have ``hf/`` and the path of a folder with a language model as their name."""

    def _hint(self, name: str, points: Iterable[str]) -> str:
        """See `Registry`; of a folder the name that stands for it."""
        folder = Path(name).expanduser()
        if all((folder / file).is_file() for file in ("config.json", "model.safetensors")):
            return f"it is a folder with a language model: write {own.IN_FOLDER}{name}."
        return super()._hint(name, points)

    def label(self, name: str) -> str:
        """See `Registry`; of a folder the last part of its path."""
        return (
            own.IN_FOLDER + os.path.basename(os.path.abspath(own.in_folder(name)))
            if own.in_folder(name)
            else super().label(name)
        )

    def place(self, name: str) -> str:
        """See `Registry`."""
        return self.label(name) if own.in_folder(name) else super().place(name)

    def identity(self, name: str) -> str:
        """See `Registry`; of a folder the hash of its files, wherever it lies.

        Raises:
            ConfigError: There is no such folder, or its model is of a kind that is not read.
        """
        place = own.in_folder(name)
        return f"hf#{_imported('cutlayer.models.text_folder:identity')(place)}" if place else super().identity(name)


def _imported(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unnamed package"


def _described(target: Any) -> str:
    return f"the class {target.__name__}" if isinstance(target, type) else f"of type {type(target).__name__}"


def _plain(annotation: Any) -> Any:
    """An annotation without its bounds."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _shown(default: Any) -> str:
    if default is inspect.Parameter.empty:
        return "?"
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


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
    "cutlayer.codecs",
    {
        "cutlayer.wire.codecs.base:Codec": ("encode", "decode", "most_bytes"),
        "cutlayer.wire.codecs.base:Packing": ("pack", "unpack"),
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
    "cutlayer.transports",
    {"cutlayer.wire.scheme:Scheme": ()},
)

DATASETS = DataSets(
    "dataset",
    {
        "digits": "cutlayer.data.digits:load",
        "photos": "cutlayer.data.photos:load",
        "photos-64": "cutlayer.data.photos:load_large",
        "photographs": "cutlayer.data.photographs:load",
        "faces": "cutlayer.data.faces:load",
        "mnist": "cutlayer.data.mnist:load_mnist",
        "fashion-mnist": "cutlayer.data.mnist:load_fashion_mnist",
        "cifar10": "cutlayer.data.cifar:load_cifar10",
        "cifar100": "cutlayer.data.cifar:load_cifar100",
        "lfw": "cutlayer.data.people:load_lfw",
        "lfw-32": "cutlayer.data.people:load_lfw32",
        "att-faces": "cutlayer.data.people:load_att",
        "svhn": "cutlayer.data.svhn:load",
        "celeba": "cutlayer.data.celeba:load",
        "imagenet": "cutlayer.data.photo_folders:load_imagenet",
        "ffhq": "cutlayer.data.photo_folders:load_ffhq",
        "chestxray8": "cutlayer.data.medical:load_chest",
        "ham10000": "cutlayer.data.medical:load_skin",
        "bank-marketing": "cutlayer.data.bank:load",
        "documentation": "cutlayer.data.documentation:load",
        "bank-additional": "cutlayer.data.bank:load_additional",
        "tones": "cutlayer.data.tones:load_digits",
        "voices": "cutlayer.data.tones:load_voices",
        "graphs": "cutlayer.data.missing:Graphs",
        "breast-cancer": "cutlayer.data.embedded_tables:load_cancer",
        "wine": "cutlayer.data.embedded_tables:load_wine",
        "diabetes": "cutlayer.data.embedded_tables:load_diabetes",
        "random": "cutlayer.data.noise:load",
    },
    "cutlayer.datasets",
)

_TORCHVISION = [
    "vgg11_bn", "resnet18", "mobilenet_v2", "mobilenet_v3_small",
    "efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t",
]  # fmt: skip

MODELS = Models(
    "model",
    {
        "he_lenet": "cutlayer.models.he2019:lenet",
        "he_cifar10cnn": "cutlayer.models.he2019:cifar10cnn",
        "lenet": "cutlayer.models.lenet:lenet",
        "lenet_bn": "cutlayer.models.lenet:lenet_bn",
        "dlg_lenet": "cutlayer.models.dlg_lenet:dlg_lenet",
        "convnet": "cutlayer.models.convnet:convnet",
        "mlp": "cutlayer.models.mlp:mlp",
        "resnet20": "cutlayer.models.resnet20:resnet20",
        "vgg11_slim": "cutlayer.models.vgg11:vgg11_slim",
        "ft_transformer": "cutlayer.models.ft_transformer:ft_transformer",
        "text_transformer": "cutlayer.models.text_transformer:text_transformer",
        "text_gpt": "cutlayer.models.text_transformer:text_gpt",
        **{name: f"cutlayer.models.zoo:{name}" for name in _TORCHVISION},
    },
    "cutlayer.models",
    families={"timm/": "cutlayer.models.zoo:timm", own.IN_FOLDER: "cutlayer.models.hugging_face:hugging_face"},
)

METRICS = Registry(
    "metric",
    {
        "mse": "cutlayer.metrics.image:MSE",
        "psnr": "cutlayer.metrics.image:PSNR",
        "ssim": "cutlayer.metrics.image:SSIM",
        "identification": "cutlayer.metrics.identification:IDENTIFICATION",
        "token-accuracy": "cutlayer.metrics.tokens:TOKEN_ACCURACY",
        "exact": "cutlayer.metrics.tokens:EXACT",
        "columns-right": "cutlayer.metrics.columns:COLUMNS_RIGHT",
        "rows-exact": "cutlayer.metrics.columns:ROWS_EXACT",
        "rouge-l": "cutlayer.metrics.tokens:ROUGE_L",
        "bleu": "cutlayer.metrics.tokens:BLEU",
        "known-tokens": "cutlayer.metrics.tokens:SEEN",
        "new-tokens": "cutlayer.metrics.tokens:UNSEEN",
        "embedding-cosine": "cutlayer.metrics.tokens:COSINE",
        "ms-ssim": "cutlayer.metrics.multiscale:MS_SSIM",
        "fsim": "cutlayer.metrics.fsim:FSIM",
        "avd": "cutlayer.metrics.variation:AVD",
        "rdlv": "cutlayer.metrics.relative:RDLV",
        "lpips": "cutlayer.metrics.lpips:ALEX",
        "lpips-squeeze": "cutlayer.metrics.lpips:SQUEEZE",
        "lpips-vgg": "cutlayer.metrics.lpips:VGG",
        "fid": "cutlayer.metrics.fid:FID",
        "recognized": "cutlayer.metrics.judged:ACCURACY",
        "feature-distance": "cutlayer.metrics.judged:DISTANCE",
        "iip": "cutlayer.metrics.judged:IIP",
    },
    "cutlayer.metrics",
    {"cutlayer.metrics.base:Metric": ()},
)

STANDARD_METRICS = (
    "mse", "psnr", "ssim", "identification", "token-accuracy", "exact", "rouge-l", "columns-right", "rows-exact",
)  # fmt: skip
"""The metrics of every run, those of its kind of inputs. A plan names others: ``[measure] metrics``."""

DEFENSES = Registry(
    "defense",
    {
        "none": "cutlayer.defenses.none:Undefended",
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
        "certified-noise": "cutlayer.defenses.certified_noise:CertifiedNoise",
        "crafter": "cutlayer.defenses.crafter:Crafter",
        "crafter-z": "cutlayer.defenses.crafter_z:CrafterZ",
        "crafter-distilled": "cutlayer.defenses.crafter_distilled:CrafterDistilled",
        "sanitize-text": "cutlayer.defenses.sanitize_text:SanitizeText",
        "split-n-denoise": "cutlayer.defenses.split_n_denoise:SplitNDenoise",
    },
    "cutlayer.defenses",
    {"cutlayer.defenses.base:Defense": ("protect or rewrite or harden or surgery",)},
)

ATTACKS = Registry(
    "attack",
    {
        "generator": "cutlayer.attacks.features.generator:Generator",
        "mean-image": "cutlayer.attacks.features.mean_image:MeanImage",
        "nearest": "cutlayer.attacks.features.nearest:Nearest",
        "ridge": "cutlayer.attacks.features.ridge:Ridge",
        "pca-ridge": "cutlayer.attacks.features.pca_ridge:PcaRidge",
        "kernel-ridge": "cutlayer.attacks.features.kernel_ridge:KernelRidge",
        "decoder": "cutlayer.attacks.features.decoder:Decoder",
        "query-free": "cutlayer.attacks.features.query_free:QueryFree",
        "denoise-first": "cutlayer.attacks.features.denoise_first:DenoiseFirst",
        "stack": "cutlayer.attacks.features.stack:Stack",
        "ensemble": "cutlayer.attacks.features.ensemble:Ensemble",
        "learned-step": "cutlayer.attacks.features.learned_step:LearnedStep",
        "map": "cutlayer.attacks.features.map:Map",
        "white-box": "cutlayer.attacks.features.white_box:WhiteBox",
        "deep-prior": "cutlayer.attacks.features.deep_prior:DeepPrior",
        "diffusion-prior": "cutlayer.attacks.features.diffusion_prior:DiffusionPrior",
        "averaging": "cutlayer.attacks.features.averaging:Averaging",
        "mask-aware": "cutlayer.attacks.features.mask_aware:MaskAware",
        "traffic": "cutlayer.attacks.traffic.traffic:Traffic",
        "watch-list": "cutlayer.attacks.features.watch_list:WatchList",
        "marginal": "cutlayer.attacks.tables.marginal:Marginal",
        "table-decoder": "cutlayer.attacks.tables.table_decoder:TableDecoder",
        "table-search": "cutlayer.attacks.tables.table_search:TableSearch",
        "token-frequency": "cutlayer.attacks.tokens.token_frequency:TokenFrequency",
        "token-ridge": "cutlayer.attacks.tokens.token_ridge:TokenRidge",
        "nearest-activation": "cutlayer.attacks.tokens.nearest_activation:NearestActivation",
        "token-decoder": "cutlayer.attacks.tokens.token_decoder:TokenDecoder",
        "token-ensemble": "cutlayer.attacks.tokens.token_ensemble:TokenEnsemble",
        "causal-search": "cutlayer.attacks.tokens.causal_search:CausalSearch",
        "permuted-pairs": "cutlayer.attacks.tokens.permuted_pairs:PermutedPairs",
    },
    "cutlayer.attacks",
    {"cutlayer.attacks.base:Attack": ("invert or invert_releases or identify",)},
)

QUICK_ATTACKS = {
    "image": ("mean-image", "nearest", "ridge", "decoder"),
    "table": ("marginal", "nearest", "ridge", "table-decoder"),
    "tokens": ("token-frequency", "token-ridge", "nearest-activation"),
}
"""The floor and the attacks that a command runs where it is told none, by the kind of inputs."""

GRADIENT_DEFENSES = Registry(
    "gradient defense",
    {
        "none": "cutlayer.defenses.gradients.none:Unprotected",
        "iso": "cutlayer.defenses.gradients.iso:Iso",
        "max-norm": "cutlayer.defenses.gradients.max_norm:MaxNorm",
        "marvell": "cutlayer.defenses.gradients.marvell:Marvell",
        "perpendicular": "cutlayer.defenses.gradients.perpendicular:Perpendicular",
    },
    "cutlayer.gradient_defenses",
    {"cutlayer.defenses.gradients.base:GradientDefense": ("protect_rows",)},
)

DETECTORS = Registry(
    "detector",
    {
        "gap": "cutlayer.defenses.detectors.similarity:Gap",
        "scrutinizer": "cutlayer.defenses.detectors.similarity:Scrutinizer",
        "split-guard": "cutlayer.defenses.detectors.split_guard:SplitGuard",
        "split-out": "cutlayer.defenses.detectors.split_out:SplitOut",
    },
    "cutlayer.detectors",
    {"cutlayer.defenses.detectors.base:Detector": ("watch",)},
)

LABEL_ATTACKS = Registry(
    "label attack",
    {
        "norm": "cutlayer.attacks.training.norm:Norm",
        "direction": "cutlayer.attacks.training.direction:Direction",
        "similarity": "cutlayer.attacks.training.similarity:Similarity",
        "enumeration": "cutlayer.attacks.training.enumeration:Enumeration",
        "exact": "cutlayer.attacks.training.enumeration:Exact",
        "model-completion": "cutlayer.attacks.training.model_completion:ModelCompletion",
        "surrogate": "cutlayer.attacks.training.surrogate:Surrogate",
    },
    "cutlayer.label_attacks",
    {"cutlayer.attacks.training.base:LabelAttack": ("infer",)},
)


UPDATE_ATTACKS = Registry(
    "update attack",
    {
        "agic": "cutlayer.attacks.gradients.agic:AGIC",
        "cgi": "cutlayer.attacks.gradients.cgi:CGI",
        "class-mean": "cutlayer.attacks.gradients.class_mean:ClassMean",
        "dager": "cutlayer.attacks.gradients.dager:Dager",
        "dia": "cutlayer.attacks.gradients.dia:DIA",
        "dlg": "cutlayer.attacks.gradients.dlg:DLG",
        "egia": "cutlayer.attacks.gradients.egia:EGIA",
        "ggi": "cutlayer.attacks.gradients.ggi:GGI",
        "ggl": "cutlayer.attacks.gradients.ggl:GGL",
        "gi-nas": "cutlayer.attacks.gradients.gi_nas:GINAS",
        "gias": "cutlayer.attacks.gradients.gias:GIAS",
        "gifd": "cutlayer.attacks.gradients.gifd:GIFD",
        "gradient-ridge": "cutlayer.attacks.gradients.ridge:GradientRidge",
        "gradinversion": "cutlayer.attacks.gradients.gradinversion:GradInversion",
        "hf-gradinv": "cutlayer.attacks.gradients.hf_gradinv:HFGradInv",
        "idlg": "cutlayer.attacks.gradients.idlg:IDLG",
        "imprint": "cutlayer.attacks.gradients.imprint:ImprintAttack",
        "inverting-gradients": "cutlayer.attacks.gradients.inverting_gradients:InvertingGradients",
        "lamp": "cutlayer.attacks.gradients.lamp:LAMP",
        "lti": "cutlayer.attacks.gradients.lti:LearningToInvert",
        "matching": "cutlayer.attacks.gradients.matching:Matching",
        "mean": "cutlayer.attacks.gradients.mean:Mean",
        "ratio": "cutlayer.attacks.gradients.ratio:Ratio",
        "rgcir": "cutlayer.attacks.gradients.rgcir:RGCIR",
        "spear": "cutlayer.attacks.gradients.spear:Spear",
        "tag": "cutlayer.attacks.gradients.tag:TAG",
        "tableak": "cutlayer.attacks.gradients.tableak:TabLeak",
        "through-hypernetwork": "cutlayer.attacks.gradients.through_hypernetwork:ThroughHypernetwork",
    },
    "cutlayer.update_attacks",
    {"cutlayer.attacks.gradients.base:UpdateAttack": ("invert",)},
)

UPDATE_DEFENSES = Registry(
    "update defense",
    {
        "augmentation": "cutlayer.defenses.updates.augmentation:Augmentation",
        "ats": "cutlayer.defenses.updates.ats:Ats",
        "autoencoder": "cutlayer.defenses.updates.autoencoder:Autoencoder",
        "censor": "cutlayer.defenses.updates.censor:Censor",
        "clip": "cutlayer.defenses.updates.clip:Clip",
        "ckks": "cutlayer.defenses.updates.ckks:Ckks",
        "client-dp": "cutlayer.defenses.updates.client_dp:ClientDP",
        "dcs2": "cutlayer.defenses.updates.dcs2:Dcs2",
        "dgc": "cutlayer.defenses.updates.dgc:DGC",
        "dgp": "cutlayer.defenses.updates.dgp:DGP",
        "ffl-swap": "cutlayer.defenses.updates.ffl_swap:FFLSwap",
        "fragments": "cutlayer.defenses.updates.fragments:Fragments",
        "grad-defense": "cutlayer.defenses.updates.grad_defense:GradDefense",
        "gradprivacy": "cutlayer.defenses.updates.missing:GradPrivacy",
        "guardian": "cutlayer.defenses.updates.missing:Guardian",
        "hyperfl": "cutlayer.defenses.updates.hyperfl:HyperFL",
        "layer-prune": "cutlayer.defenses.updates.layer_prune:LayerPrune",
        "lr-perturbation": "cutlayer.defenses.updates.lr_perturbation:LearningRatePerturbation",
        "noise": "cutlayer.defenses.updates.noise:Noise",
        "none": "cutlayer.defenses.updates.none:Unprotected",
        "outpost": "cutlayer.defenses.updates.outpost:Outpost",
        "perceptual-hash": "cutlayer.defenses.updates.perceptual_hash:PerceptualHash",
        "pfgd": "cutlayer.defenses.updates.pfgd:PFGD",
        "precode": "cutlayer.defenses.updates.precode:Precode",
        "prune": "cutlayer.defenses.updates.prune:Prune",
        "quantize": "cutlayer.defenses.updates.quantize:Quantize",
        "refiner": "cutlayer.defenses.updates.refiner:Refiner",
        "sec-cnn": "cutlayer.defenses.updates.sec_cnn:SecCnn",
        "secure-aggregation": "cutlayer.defenses.updates.secure_aggregation:SecureAggregation",
        "soteria": "cutlayer.defenses.updates.soteria:Soteria",
        "statistical-distillation": "cutlayer.defenses.updates.missing:StatisticalDistillation",
        "vrm": "cutlayer.defenses.updates.vrm:Vrm",
    },
    "cutlayer.update_defenses",
    {"cutlayer.defenses.updates.base:UpdateDefense": ("protect or augment or rebuilt or share",)},
)

CLASS_ATTACKS = Registry(
    "class attack",
    {
        "background-alignment": "cutlayer.attacks.answers.background_alignment:BackgroundAlignment",
        "brep-mi": "cutlayer.attacks.answers.brep_mi:BrepMi",
        "c2fmi": "cutlayer.attacks.answers.c2fmi:C2fmi",
        "class-mean": "cutlayer.attacks.answers.class_mean:ClassMean",
        "deep-inversion": "cutlayer.attacks.answers.deep_inversion:DeepInversion",
        "diff-mi": "cutlayer.attacks.answers.diff_mi:DiffMI",
        "dmmia": "cutlayer.attacks.answers.dmmia:DMMIA",
        "emi": "cutlayer.attacks.answers.emi:EMI",
        "fed-inverse": "cutlayer.attacks.answers.fed_inverse:FedInverse",
        "first-hit": "cutlayer.attacks.answers.first_hit:FirstHit",
        "genetic": "cutlayer.attacks.answers.genetic:Genetic",
        "gmi": "cutlayer.attacks.answers.gmi:Gmi",
        "graph-mi": "cutlayer.attacks.answers.missing:GraphMI",
        "if-gmi": "cutlayer.attacks.answers.if_gmi:IfGmi",
        "kedmi": "cutlayer.attacks.answers.kedmi:KEDMI",
        "label-diffusion": "cutlayer.attacks.answers.label_diffusion:LabelDiffusion",
        "label-transfer": "cutlayer.attacks.answers.label_transfer:LabelTransfer",
        "lokt": "cutlayer.attacks.answers.lokt:Lokt",
        "lomma": "cutlayer.attacks.answers.lomma:Lomma",
        "margin": "cutlayer.attacks.answers.margin:Margin",
        "mean-auxiliary": "cutlayer.attacks.answers.mean_auxiliary:MeanAuxiliary",
        "mi-face": "cutlayer.attacks.answers.mi_face:MiFace",
        "mirror": "cutlayer.attacks.answers.mirror:Mirror",
        "nearest-auxiliary": "cutlayer.attacks.answers.nearest_auxiliary:NearestAuxiliary",
        "patch-mi": "cutlayer.attacks.answers.patch_mi:PatchMI",
        "plg-mi": "cutlayer.attacks.answers.plg_mi:PLGMI",
        "ppa": "cutlayer.attacks.answers.ppa:Ppa",
        "ppdg-mi": "cutlayer.attacks.answers.ppdg_mi:PPDGMI",
        "rlb-mi": "cutlayer.attacks.answers.rlb_mi:RlbMi",
        "sampling": "cutlayer.attacks.answers.sampling:Sampling",
        "secret-gen": "cutlayer.attacks.answers.secret_gen:SecretGen",
        "sia-gan": "cutlayer.attacks.answers.missing:SiaGan",
        "sliding-inversion": "cutlayer.attacks.answers.sliding_inversion:SlidingInversion",
        "smi": "cutlayer.attacks.answers.smi:Smi",
        "text-revealer": "cutlayer.attacks.answers.missing:TextRevealer",
        "vmi": "cutlayer.attacks.answers.vmi:VMI",
        "xai": "cutlayer.attacks.answers.xai:Xai",
    },
    "cutlayer.class_attacks",
    {
        "cutlayer.attacks.answers.base:ClassAttack": ("represent",),
        "cutlayer.attacks.answers.base:AnswerAttack": ("invert",),
    },
)

ANSWER_DEFENSES = Registry(
    "answer defense",
    {
        "adversarial-answers": "cutlayer.defenses.answers.adversarial_answers:AdversarialAnswers",
        "augmented-dp": "cutlayer.defenses.answers.missing:AugmentedDp",
        "bido": "cutlayer.defenses.answers.bido:BiDO",
        "class-dp": "cutlayer.defenses.answers.class_dp:ClassDP",
        "gnime": "cutlayer.defenses.answers.missing:Gnime",
        "hybrid-masking": "cutlayer.defenses.answers.missing:HybridMasking",
        "inversion-guided": "cutlayer.defenses.answers.missing:InversionGuided",
        "label-only": "cutlayer.defenses.answers.label_only:LabelOnly",
        "label-smoothing": "cutlayer.defenses.answers.label_smoothing:LabelSmoothing",
        "last-layer-mid": "cutlayer.defenses.answers.last_layer_mid:LastLayerMid",
        "low-rank-header": "cutlayer.defenses.answers.low_rank_header:LowRankHeader",
        "netguard": "cutlayer.defenses.answers.missing:NetGuard",
        "none": "cutlayer.defenses.answers.none:Undefended",
        "perceptual-hash": "cutlayer.defenses.answers.perceptual_hash:PerceptualHash",
        "pruned-ensembles": "cutlayer.defenses.answers.missing:PrunedEnsembles",
        "purifier": "cutlayer.defenses.answers.purifier:Purifier",
        "random-erasing": "cutlayer.defenses.answers.random_erasing:RandomErasing",
        "rounding": "cutlayer.defenses.answers.rounding:Rounding",
        "sparse-coding": "cutlayer.defenses.answers.sparse_coding:SparseCoding",
        "temperature": "cutlayer.defenses.answers.temperature:Temperature",
        "tl-dmi": "cutlayer.defenses.answers.tl_dmi:TlDmi",
        "top-scores": "cutlayer.defenses.answers.top_scores:TopScores",
        "trap-mid": "cutlayer.defenses.answers.trap_mid:TrapMid",
    },
    "cutlayer.answer_defenses",
    {"cutlayer.defenses.answers.base:AnswerDefense": ("answer or train or rebuilt or learn",)},
)


ENGINES = Registry(
    "engine",
    {
        "local": "cutlayer.experiment.engines.local:Local",
        "ray": "cutlayer.experiment.engines.ray:Ray",
        "slurm": "cutlayer.experiment.engines.slurm:Slurm",
    },
    "cutlayer.engines",
    {"cutlayer.experiment.engines.base:Engine": ("run",)},
)


def defense_names(description: Mapping[str, Any]) -> Iterator[str]:
    """The name in the description of a defense, and the names of those that follow it."""
    yield str(description["name"])
    if "then" in description:
        yield from defense_names(description["then"])


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
