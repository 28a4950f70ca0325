"""Training on the corpus, and comparisons of variants."""
