"""How other formats become the waveform layout, one call a source."""
