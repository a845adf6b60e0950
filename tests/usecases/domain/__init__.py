from hypothesis import settings

# A wall-clock limit per example says more about the machine's other work than about the code.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")
