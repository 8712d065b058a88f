"""Pictures of kept models: what the maps and gates of one seed look like on clean and on corrupted inputs."""


def section(folder, named, records) -> list:
    return []
