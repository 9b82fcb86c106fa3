"""Base of every defense: it changes the model offline, each release online, or both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError
from cutlayer.registry import DEFENSES, defense_from, defense_names

if TYPE_CHECKING:
    from cutlayer.data.modality import Modality
    from cutlayer.data.splits import Splits
    from cutlayer.defenses.shared.density import Density
    from cutlayer.models.halves import SplitModel
    from cutlayer.split_folder import SplitFolder


@dataclass(kw_only=True)
class Defense:
    """The base of every defense; as it is, it changes nothing.

    A subclass is a dataclass, and its fields are its options: nothing assigns them after `__post_init__`. The
    dataclass is not frozen, because `harden` and `deploy` set what was learned.

    Attributes:
        decoder: Name in `cutlayer.nets.decoders` of the network against which the model is trained; a defense that has
            one makes it an option.
    """

    decoder = ""
    _learned: dict[str, NDArray[Any]] = field(init=False, repr=False, compare=False, default_factory=dict)

    sends_zeros: ClassVar[bool] = False
    """Whether the defense sends zeros in place of values, so that their positions are a message of their own."""

    knob: ClassVar[str] = ""
    """Name of the option that says how strong the defense is; 0 turns it off.

    With it at 0, and with every part of the defense that another option turns on left off (a bottleneck, a deeper
    cut, a second weight), the undefended model is deployed, bit for bit.
    """

    draws: ClassVar[bool] = False
    """Whether `protect` draws random numbers when the defense is on."""

    kinds: ClassVar[tuple[str, ...]] = ("image", "table", "tokens")
    """Names of the modalities whose inputs it protects.

    A sentence is protected by itself, at its own length: `protect` is given ``(N, t, width)`` without padding.
    """

    why_only: ClassVar[str] = ""
    """Why it protects these kinds alone; a part of a sentence."""

    @property
    def on(self) -> bool:
        """Whether the strength is not 0."""
        return bool(self.knob and getattr(self, self.knob))

    @property
    def random(self) -> bool:
        """Whether two releases of one input differ, so that an attacker gains by averaging."""
        return self.draws and self.on

    @property
    def slow(self) -> bool:
        """Whether a release takes a device so long that an attacker stores every release that it has queried."""
        return False

    @property
    def decoders(self) -> tuple[str, ...]:
        """The decoder against which this part trains the model, where it is on."""
        return (self.decoder,) if self.decoder and self.on else ()

    @property
    def further_epochs(self) -> int:
        """Passes over the training part in which `harden` trains the model further, or its tail alone.

        The model without a defense is trained for as many epochs more before the accuracies are compared.
        """
        return 0

    @property
    def parts(self) -> tuple[Defense, ...]:
        """This defense, or those of a chain in their order."""
        return (self,)

    def surgery(self, split: SplitModel) -> SplitModel:
        """The structure that is deployed, what is new in it not yet trained.

        It follows from the options alone, because a split folder is loaded by the same surgery. `harden` may change the
        widths of the layers again. The given split stays as it is.
        """
        return split

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Change the model offline, before deployment: surgery, training or both.

        Both halves of the result export to ONNX. The given split stays as it is.

        Args:
            split: The trained model, cut.
            data: The data sets, of which `train` is used, and `auxiliary` for an adversary of the defender's own.
            seed: Seed of every random choice.
        """
        return split

    @property
    def protects(self) -> bool:
        """Whether anything is done to the releases."""
        return self.rewrites or type(self).protect is not Defense.protect

    @property
    def learned(self) -> dict[str, NDArray[Any]]:
        """The values that `harden` learned, by name; the split folder stores them."""
        return self._learned

    def deploy(self, learned: Mapping[str, NDArray[Any]], halves: Callable[[], SplitModel]) -> None:
        """Get ready to protect, on the device, with what `harden` learned.

        Args:
            learned: The value of `learned` when the split folder was written.
            halves: Loads the halves of the split folder in torch, for a defense that needs the head itself.
        """
        self._learned = dict(learned)

    def facts(self, smashed: NDArray[np.float32]) -> dict[str, float | str]:
        """Facts to state beside the results, such as the signal-to-noise ratio.

        Args:
            smashed: ``(N, *smashed.shape)`` from the hardened head, before protection.
        """
        return {}

    def rewrite(self, inputs: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Change the inputs on the device, online, before the head computes.

        Args:
            inputs: ``(N, *input.shape)``; they stay as they are.
            rng: Source of every random draw. Fresh for each release.
        """
        return inputs

    @property
    def rewrites(self) -> bool:
        """Whether the inputs are changed before the head computes."""
        return type(self).rewrite is not Defense.rewrite

    def mend(self, answer: NDArray[Any], smashed: NDArray[Any], sent: NDArray[Any]) -> NDArray[Any]:
        """Change what the server answered, on the device, which knows what it did to the smashed data.

        Args:
            answer: ``(N, classes)``, or the vector of each input.
            smashed: ``(N, *smashed.shape)``, before protection.
            sent: The same, as `protect` gave it.
        """
        return answer

    @property
    def mends(self) -> bool:
        """Whether answers are changed on the device."""
        return self.on and type(self).mend is not Defense.mend

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Change what leaves the device, online, for each batch.

        Args:
            smashed: ``(N, *smashed.shape)``, a numpy array on the device, or a torch tensor in an attacker's
                hands; the same kind comes back, and gradients flow through it where the defense has any.
            rng: Source of every random draw. Fresh for each release.
        """
        return smashed

    def penalty(self, inputs: Any, smashed: Any) -> Any:
        """What a device adds to its loss while it trains its head with a server; None where the defense adds nothing.

        Args:
            inputs: ``(N, *input.shape)``, the batch.
            smashed: ``(N, *smashed.shape)`` from the head, before protection; gradients flow through it.
        """
        return None

    def training_state(self) -> dict[str, Any]:
        """What the defense has learned beside the head in a training with a server: tensors by name, for a checkpoint.

        Empty where it learns nothing, or has not begun.
        """
        return {}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Undo `training_state`; with an empty state the defense begins anew."""

    @property
    def trains_along(self) -> bool:
        """Whether the defense acts in a training with a server, without anything that `harden` learns before it."""
        penalizes = type(self).penalty is not Defense.penalty
        return (self.protects or penalizes) and type(self).deploy is Defense.deploy

    def density(self, smashed: Any) -> Density | None:
        """The law of one release of each input; None where no noise is added, or its density is not known.

        A defense that is `random` and states no density has no ceiling; see `cutlayer.privacy.ceiling`.

        Args:
            smashed: ``(M, *smashed.shape)`` from the hardened head, before protection: a numpy array or a torch tensor,
                through which gradients flow.
        """
        return None

    def then(self, other: Defense) -> Defense:
        """This defense first, the other one on its output."""
        return Chain(first=self, second=other)


@dataclass(kw_only=True)
class Chain(Defense):
    """Two defenses, one after the other."""

    first: Defense
    second: Defense

    @property
    def parts(self) -> tuple[Defense, ...]:
        """The parts of the first, then those of the second."""
        return (*self.first.parts, *self.second.parts)

    @property
    def random(self) -> bool:
        """Whether the releases of either differ."""
        return self.first.random or self.second.random

    @property
    def slow(self) -> bool:
        """Whether either is slow."""
        return self.first.slow or self.second.slow

    @property
    def further_epochs(self) -> int:
        """The passes of both."""
        return self.first.further_epochs + self.second.further_epochs

    @property
    def protects(self) -> bool:
        """Whether either changes the releases."""
        return self.first.protects or self.second.protects

    def surgery(self, split: SplitModel) -> SplitModel:
        """The first one's surgery, then the second one's."""
        return self.second.surgery(self.first.surgery(split))

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Harden with the first, then with the second.

        Raises:
            ConfigError: The second one trains, and would do so without the protection of the first one.
        """
        by_first = self.first.harden(split, data, seed)
        by_both = self.second.harden(by_first, data, seed)
        if by_both is not by_first and self.first.protects:
            raise ConfigError(
                f"{self.second!r} would be trained without {self.first!r} before it. Name {self.second!r} first, or "
                "set its options so that it does not train."
            )
        return by_both

    @property
    def learned(self) -> dict[str, NDArray[Any]]:
        """The values that both learned, under names that begin with ``first.`` and ``second.``."""
        parts = {"first": self.first, "second": self.second}
        return {f"{part}.{name}": v for part, defense in parts.items() for name, v in defense.learned.items()}

    def deploy(self, learned: Mapping[str, NDArray[Any]], halves: Callable[[], SplitModel]) -> None:
        """Get both ready, each with what it learned."""
        for part, defense in (("first.", self.first), ("second.", self.second)):
            own = {name.removeprefix(part): v for name, v in learned.items() if name.startswith(part)}
            defense.deploy(own, halves)

    def facts(self, smashed: NDArray[np.float32]) -> dict[str, float | str]:
        """The facts of both, each about its own input; a name that both use begins with ``first`` or ``second``."""
        protected = self.first.protect(smashed, np.random.default_rng(0))
        first, second = self.first.facts(smashed), self.second.facts(protected)
        shared = first.keys() & second.keys()
        return {
            f"{position} {name}" if name in shared else name: value
            for position, stated in (("first", first), ("second", second))
            for name, value in stated.items()
        }

    def rewrite(self, inputs: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Rewrite with the first, then with the second."""
        return self.second.rewrite(self.first.rewrite(inputs, rng), rng)

    @property
    def rewrites(self) -> bool:
        """Whether either rewrites inputs."""
        return self.first.rewrites or self.second.rewrites

    def mend(self, answer: NDArray[Any], smashed: NDArray[Any], sent: NDArray[Any]) -> NDArray[Any]:
        """Undo the second, then the first; each is told what both did."""
        return self.first.mend(self.second.mend(answer, smashed, sent), smashed, sent)

    @property
    def mends(self) -> bool:
        """Whether either changes answers."""
        return self.first.mends or self.second.mends

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Protect with the first, then with the second."""
        return self.second.protect(self.first.protect(smashed, rng), rng)

    def penalty(self, inputs: Any, smashed: Any) -> Any:
        """The sum of both."""
        terms = [term for part in (self.first, self.second) if (term := part.penalty(inputs, smashed)) is not None]
        return sum(terms[1:], terms[0]) if terms else None

    def training_state(self) -> dict[str, Any]:
        """The states of both, under names that begin with ``first.`` and ``second.``."""
        parts = {"first": self.first, "second": self.second}
        return {f"{part}.{name}": v for part, defense in parts.items() for name, v in defense.training_state().items()}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Give each part its own."""
        for part, defense in (("first.", self.first), ("second.", self.second)):
            own = {name.removeprefix(part): v for name, v in state.items() if name.startswith(part)}
            defense.load_training_state(own)

    @property
    def trains_along(self) -> bool:
        """Whether both do."""
        return self.first.trains_along and self.second.trains_along

    def density(self, smashed: Any) -> Density | None:
        """The density of the part that adds noise, and whether it is that of what arrives.

        What the first one does without noise moves the means of the second. Whatever follows noise can only take away
        from what a release tells, so that the density of the noise stands for both, as a bound; two Gaussian noises one
        after the other are one.
        """
        first = self.first.density(smashed)
        if first is None and not self.first.random:
            return self.second.density(self.first.protect(smashed, np.random.default_rng(0)))
        if first is None or not self.second.protects:
            return first
        second = self.second.density(first.mean)
        both_gaussian = second is not None and first.exact and first.family == second.family == "gaussian"
        if second and both_gaussian and second.mean is first.mean:
            return replace(second, scale=(first.scale**2 + second.scale**2) ** 0.5)
        return replace(first, exact=False)


def check_kind(defense: Defense, modality: Modality) -> None:
    """Refuse a defense that does not protect inputs of this kind.

    Raises:
        ConfigError: The first such part of the defense, with the reason and those that do.
    """
    for part in defense.parts:
        if modality.name not in part.kinds:
            able = ", ".join(name for name in DEFENSES if modality.name in DEFENSES.load(name).kinds)
            raise ConfigError(
                f"{part!r} does not protect {modality.one[1]}: {part.why_only or 'it is made for others'}. Choose from "
                f"{able}."
            )


def deployed(split: SplitFolder) -> Defense:
    """The defense of a split folder, ready to protect.

    Raises:
        SplitError: What the defense learned is missing or damaged, or a defense of the user's own is not found here.
    """
    for name in defense_names(split.manifest.defense):
        split.manifest.verify_source(DEFENSES, name)
    defense: Defense = defense_from(split.manifest.defense)
    defense.deploy(split.learned(), split.halves)
    return defense
