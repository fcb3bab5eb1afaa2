"""Figures of the whole organisation, projected from the public topics."""
