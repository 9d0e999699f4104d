"""The guard: a process that ends what is left when its supervisor is gone for good.

It imports little, since it runs beside every supervisor: of ours only what the channel needs, and no logging.
"""
