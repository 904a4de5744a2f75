"""How other formats become the waveform layout, one call a source."""


def __getattr__(name):
    """Find foreshap.sources.read_picks and the other calls where foreshap has them, when used."""
    import foreshap

    if name in foreshap.__all__:
        return getattr(foreshap, name)
    raise AttributeError(f"module 'foreshap.sources' has no attribute {name!r}")
