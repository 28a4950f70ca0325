"""Audio that the project makes: the training corpus, the sets it is judged on, the excerpts."""
