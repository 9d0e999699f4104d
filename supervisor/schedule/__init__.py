"""When jobs run: triggers, what is due, what happens when runs overlap. Pure, with time and chance as arguments."""
