"""Everything that can go wrong, in the domain's words. Knows no HTTP library.

A class's docstring is its title, `status` the HTTP status it is answered with and `exit_code` the command line's.
`detail` is what the caller may read; the cause (`raise … from`) is what only we may read.
"""


class IsacError(Exception):
    """Something went wrong"""

    status = 500
    #: 1 something refused or held, 2 usage, 3 surroundings: port, disk, database
    exit_code = 1

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def title(self) -> str:
        return (type(self).__doc__ or "").splitlines()[0]


class BadRequest(IsacError):
    """The request cannot be understood"""

    status = 400
    exit_code = 2


class Unauthorized(IsacError):
    """A valid key is needed"""

    status = 401


class Forbidden(IsacError):
    """This key may not do that"""

    status = 403


class NotFound(IsacError):
    """No such resource"""

    status = 404
    exit_code = 2


class NotAcceptable(IsacError):
    """None of the accepted media types can be served"""

    status = 406


class Conflict(IsacError):
    """Another request stands in the way"""

    status = 409


class TooLarge(IsacError):
    """The request body is larger than max_content_length"""

    status = 413


class UnsupportedMediaType(IsacError):
    """The media type of the request body is not supported"""

    status = 415


class Unprocessable(IsacError):
    """The request is well formed, but nothing in it can be processed"""

    status = 422


class TooSlow(IsacError):
    """The request did not arrive in time"""

    status = 408


class AddressTooLong(IsacError):
    """The address of the request is too long"""

    status = 414


class HeadersTooLarge(IsacError):
    """The headers of the request are too many or too long"""

    status = 431


class TooMany(IsacError):
    """Too many requests"""

    status = 429

    def __init__(self, detail: str, wait: float) -> None:
        """`wait` is the seconds until another one may come."""
        super().__init__(detail)
        self.wait = wait


class Busy(IsacError):
    """The server has too much to do at the moment"""

    status = 503


class Invalid(IsacError):
    """A file or an argument is not what it should be"""

    status = 400
    exit_code = 2


class Classified(Invalid):
    """It is classified, and must not be kept either"""


class Surroundings(IsacError):
    """Something that this program needs is missing around it"""

    status = 503
    exit_code = 3


class Unreachable(IsacError):
    """A source elsewhere does not give what it should"""

    status = 502
    exit_code = 3
