"""What loses: codecs, noise, clipping, radio links, and chains of them by name."""
