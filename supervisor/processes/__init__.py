"""Processes of the operating system: started, recorded, listened to, reaped, and what the kernel says of them."""
