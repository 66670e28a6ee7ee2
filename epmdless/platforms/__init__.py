"""What a platform says of the place that this program runs in: its address above all.

Each platform has a module of its own; :mod:`epmdless.platforms.gather` chooses among them.
"""
