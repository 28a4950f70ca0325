"""The free corpus: what it is made of, how each piece is rendered, and how the sets are cut.

:mod:`tools.corpus.recipe` says what a piece is, :mod:`tools.corpus.recipes` lists all of them,
:mod:`tools.corpus.build` makes them. The other modules each bring one kind of sound.
"""
