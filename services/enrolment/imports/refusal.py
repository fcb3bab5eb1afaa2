"""The one error of a whole import; errors of single rows are issues in the report."""


class FileRefused(Exception):
    """The file as a whole cannot be imported; nothing of it was applied."""

    def __init__(self, code: str, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.code, self.detail, self.remedy = code, detail, remedy
