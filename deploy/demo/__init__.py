"""The demo (`medled demo`): a sample organisation runs a co-leadership programme on the embedded stack, for real.

Everything is done the way people and machines do it: over the public APIs, by mail, and in pages. What was done is
written down as it happens, and held against what the services say at the end.
"""
