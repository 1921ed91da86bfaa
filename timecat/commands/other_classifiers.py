"""`timecat knn` and `timecat few-shot`: their results are shown as each data set is done."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timecat.extraction.external import ExternalFeatures
    from timecat.study.study import Study


def by_other_classifiers(command: str, source: "Study | ExternalFeatures", options: dict[str, Any]) -> None:
    """`timecat knn` or `timecat few-shot` on a study or on features from elsewhere."""
    if command == "knn":
        from timecat.heads.knn import knn
        from timecat.report.knn import show_knn

        knn(source, **options, show=lambda name: show_knn(source, name))
    else:
        from timecat.heads.few_shot import few_shot
        from timecat.report.few_shot import show_few_shot

        few_shot(source, **options, show=lambda name: show_few_shot(source, name))
