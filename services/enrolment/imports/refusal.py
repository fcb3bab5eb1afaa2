"""The one error of a whole import; errors of single rows are issues in the report."""

from services.enrolment.imports.sentences import Sentence, Value


class FileRefusedError(Exception):
    """The file as a whole cannot be imported; nothing of it was applied."""

    def __init__(self, key: str, **values: Value) -> None:
        self.sentence = Sentence(key, values)
        super().__init__(self.detail)

    @property
    def code(self) -> str:
        return self.sentence.code

    @property
    def detail(self) -> str:
        return self.sentence.detail()

    @property
    def remedy(self) -> str:
        return self.sentence.remedy()
