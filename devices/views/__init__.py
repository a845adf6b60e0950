"""Pages of devices: the registry, a device, onboarding, import."""
