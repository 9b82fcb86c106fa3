"""Whether a plan can be carried out; a plan that cannot is refused before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cutlayer.errors import ConfigError, SplitError
from cutlayer.machine.files import check_writable
from cutlayer.machine.limits import check_pin, quota
from cutlayer.models.manifest import HEAD_WEIGHTS
from cutlayer.models.start import RANDOM
from cutlayer.network.namespaces import two_hosts
from cutlayer.network.profiles import Network
from cutlayer.profile.lengths import sentence_spec
from cutlayer.profile.plan import Plan, Settings, shape
from cutlayer.records.profile import Limits
from cutlayer.registry import MODELS
from cutlayer.spec import TensorSpec
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.connect import connect
from cutlayer.wire.transport import Timeouts


def check_plan(
    plan: Plan, settings: Settings, limits: Limits, networks: Sequence[Network], out: Path
) -> TensorSpec | None:
    """Refuse a plan that cannot work, and return the input of the model where the plan names its shape.

    Raises:
        CutlayerError: The first fault of the plan.
    """
    for codec in settings.codecs:
        codec_named(codec)
    _check_quality(plan, limits)
    _check_network(plan, settings, networks)
    if settings.cores:
        check_pin(settings.cores)
    if settings.quota is not None:
        with quota(settings.quota):
            pass
    if settings.head == "torch" and not (Path(plan.model) / HEAD_WEIGHTS).exists():
        raise SplitError(
            f"{plan.model} is cut as an ONNX file and has no head in torch; leave out --head torch, or name a folder "
            "that `cutlayer split` has written from a model by name."
        )
    check_writable(out, "folder")
    if plan.tokens and plan.connect is not None:
        raise ConfigError("--tokens measures with a server on this machine; leave out --connect.")
    if plan.tokens and plan.input is not None:
        raise ConfigError("--tokens states what the model takes; leave out --input.")
    if (sentences := sentence_spec(plan)) is not None:
        return sentences
    return None if plan.input is None or Path(plan.model).suffix == ".onnx" else shape(plan.input)


def _check_quality(plan: Plan, limits: Limits) -> None:
    options = {"--privacy": plan.privacy, "--min-accuracy": limits.accuracy is not None, "--epochs": plan.epochs > 0}
    for option, is_given in options.items():
        if is_given and plan.data is None:
            raise ConfigError(f"{option} needs inputs of a data set; name one with --data.")
    if limits.leakage is not None and not plan.privacy:
        raise ConfigError("--max-leakage needs the attacks: add --privacy.")
    if plan.start != RANDOM and not MODELS.takes(plan.model):
        raise ConfigError(f"{plan.model} comes with its weights; leave out --weights, --mean and --std.")
    if plan.epochs and not MODELS.takes(plan.model):
        raise ConfigError(f"{plan.model} comes with its weights and is not trained; leave out --epochs.")


def _check_network(plan: Plan, settings: Settings, networks: Sequence[Network]) -> None:
    if plan.connect is not None:
        if plan.network is not None:
            raise ConfigError("--connect measures the real network; leave out --network, which emulates others.")
        if settings.tc:
            raise ConfigError(
                "--connect measures the real network; leave out --tc, which lets the kernel shape others."
            )
        # Nothing is sent yet: the address, the files of the proof and plain text are checked.
        connect(plan.connect, Timeouts(), security=settings.security).close()
    for network in networks:
        if settings.tc and network.shapes:
            with two_hosts(network):
                pass
