"""The gateways: what they listen on, how they are run, and what they are told."""
