"""How other formats become the waveform layout, one call a source."""


def __getattr__(name):
    """Find foreshap.sources.read_picks and the other calls where foreshap has them, when used."""
    import foreshap

    if name.startswith("_") or name not in foreshap.__all__:
        raise AttributeError(f"module 'foreshap.sources' has no attribute {name!r}")
    return getattr(foreshap, name)
