"""Every codec of the registry, alone and packed: the tests of codecs and the fuzzing take them from here."""

from cutlayer.registry import CODECS
from cutlayer.wire.codecs.base import Packing

PACKINGS = [name for name in CODECS if issubclass(CODECS.load(name), Packing)]
NAMES = [name for name in CODECS if name not in PACKINGS]
OPTIONS = ["int8:channel", "int4:channel", "top-k:0.4", "top-k:1"]
"""Codecs with another option than the default."""

ALONE = [*NAMES, *OPTIONS]
PACKED = [f"{name}+{packing}" for name in ALONE for packing in (*PACKINGS, "+".join(PACKINGS))]
EVERY = [*ALONE, *PACKED]
