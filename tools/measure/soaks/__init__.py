"""Long runs: hours of music, minutes of live sound, kills at random moments."""
