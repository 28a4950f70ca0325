"""What a maintainer runs; no part of the installed package."""
