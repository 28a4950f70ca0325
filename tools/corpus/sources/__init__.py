"""Where the corpus comes from: one module for each kind of source, and what plays notes."""
