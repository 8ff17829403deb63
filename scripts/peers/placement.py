"""Which core owns an integer id: what src/id.rs says, for ids that shall meet on one core."""

import itertools

MASK = (1 << 64) - 1


def placement(number):
    """FxHash of the integer, through MurmurHash3's finalizer."""
    mixed = (number & MASK) * 0x517CC1B727220A95 & MASK
    mixed ^= mixed >> 33
    mixed = mixed * 0xFF51AFD7ED558CCD & MASK
    mixed ^= mixed >> 33
    mixed = mixed * 0xC4CEB9FE1A85EC53 & MASK
    return mixed ^ (mixed >> 33)


# Golden values of src/id.rs: a change there must be made here too.
assert placement(1) == 0x37E8D29469497CD2
assert placement(-1) == 0x92F96F6A0392EF8D


def ids_of_one_core(count, cores, highest):
    """The first ids that the last core owns, which is not the one that runs the log."""
    owned = (n for n in range(1, highest + 1) if placement(n) * cores >> 64 == cores - 1)
    return list(itertools.islice(owned, count))
