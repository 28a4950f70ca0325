"""What a release is made of: weights, their exports, cards, tables."""
