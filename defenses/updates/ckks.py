"""CKKS: updates are encrypted under a key of the clients, and the server adds what it cannot read.

J. H. Cheon, A. Kim, M. Kim, Y. Song, "Homomorphic Encryption for Arithmetic of Approximate Numbers", ASIACRYPT 2017, by
TenSEAL (extra `he`). One ciphertext holds `degree` / 2 numbers; the moduli of 60, 40 and 60 bits leave 128 bits of
security at 8192 (homomorphicencryption.org, 2018: at most 218 bits) and one level, of which sums need none. The scale
is 2**40.

Not covered: the sum, which the clients decrypt and which is an update of all their samples; a client that gives the
secret key, which all of them share, to the server; a sum of a single client's update, which the server may ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import torch

from cutlayer.defenses.updates.base import Update, UpdateDefense
from cutlayer.errors import ConfigError
from cutlayer.options import Within

_DEGREES, _MODULI, _SCALE = (0, 8192, 16384, 32768), [60, 40, 60], 2.0**40


@dataclass(kw_only=True)
class Ckks(UpdateDefense):
    """Encrypt each update; what the server sees of a client are ciphertexts, uint8 arrays of other names and shapes.

    Args:
        degree: Degree of the polynomials: 8192, 16384 or 32768; 0 for no encryption.
    """

    knob = "degree"
    plain_words = "encrypts each update under a key of the clients, so that the server adds what it cannot read"

    degree: Annotated[int, Within(0, 32768)] = 8192

    def __post_init__(self) -> None:
        if self.degree not in _DEGREES:
            raise ConfigError(f"degree must be 0, 8192, 16384 or 32768; {self.degree} was given.")

    def share(self, updates: Mapping[int, Update], rng: np.random.Generator) -> dict[int, Update]:
        """See the base. Keys and encryption draw from the system, and not from `rng`.

        Raises:
            ConfigError: The package `tenseal` is missing.
        """
        if not self.on:
            return dict(updates)
        self._forms = {
            name: (tuple(v.shape), isinstance(v, torch.Tensor)) for name, v in next(iter(updates.values())).items()
        }
        return {client: self._encrypted(update) for client, update in updates.items()}

    def summed(self, shared: Mapping[int, Update]) -> dict[str, Any]:
        """See the base: the server adds with the public part of the key, and the clients decrypt."""
        if not self.on:
            return super().summed(shared)
        ts = _tenseal()
        public = ts.context_from(self._context.serialize(save_secret_key=False), n_threads=1)
        found: list[float] = []
        for name in next(iter(shared.values())):
            first, *others = (ts.ckks_vector_from(public, of[name].tobytes()) for of in shared.values())
            for other in others:
                first += other
            found += ts.ckks_vector_from(self._context, first.serialize()).decrypt()
        flat, result = np.asarray(found, np.float32), dict[str, Any]()
        for name, (shape, of_torch) in self._forms.items():
            part, flat = np.split(flat, [int(np.prod(shape))])
            result[name] = torch.from_numpy(part.reshape(shape)) if of_torch else part.reshape(shape)
        return result

    def _encrypted(self, update: Update) -> dict[str, Any]:
        ts, slots = _tenseal(), self.degree // 2
        flat = np.concatenate([np.asarray(value, np.float64).ravel() for value in update.values()])
        parts = [flat[first : first + slots] for first in range(0, len(flat), slots)]
        return {
            f"ciphertext {k}": np.frombuffer(ts.ckks_vector(self._context, part).serialize(), np.uint8).copy()
            for k, part in enumerate(parts)
        }

    @cached_property
    def _context(self) -> Any:
        """The keys of the clients."""
        ts = _tenseal()
        context = ts.context(ts.SCHEME_TYPE.CKKS, self.degree, coeff_mod_bit_sizes=_MODULI, n_threads=1)
        context.global_scale = _SCALE
        return context


def _tenseal() -> ModuleType:
    try:
        import tenseal
    except ImportError:
        raise ConfigError("Sums of ciphertexts need the package tenseal; install cutlayer[he].") from None
    found: ModuleType = tenseal
    return found
