"""Whether a probe's images are seen as the members' were: where not, features are worse, and nothing fails."""

from timecat.config.files import ProbeFile
from timecat.data.preprocessing import preprocessing_of
from timecat.study.study import Study


def seen_otherwise(study: Study, probe: ProbeFile) -> str | None:
    """A line that tells how a probe's evaluation view differs from that of the members' training; None where not."""
    seen = preprocessing_of(probe.data)
    for data in study.all_data:
        trained, words = preprocessing_of(data), []
        if (seen.mean, seen.std) != (trained.mean, trained.std):
            words.append("another normalisation (data.normalisation)")
        if seen.crop_mode != trained.crop_mode:
            words.append(f"{seen.crop_mode} crop, not {trained.crop_mode} (data.view)")
        if seen.interpolation != trained.interpolation:
            words.append(f"{seen.interpolation} resize, not {trained.interpolation} (data.interpolation)")
        if seen.input_size != trained.input_size:
            words.append(f"{seen.input_size[1]} pixels, not {trained.input_size[1]} (data.resolution)")
        if words:
            return f"{probe.name}: its images are seen otherwise than the members' in training: {', '.join(words)}"
    return None
