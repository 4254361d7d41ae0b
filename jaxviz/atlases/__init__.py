"""Atlases: every filter of a network, in one store that survives interruptions."""
