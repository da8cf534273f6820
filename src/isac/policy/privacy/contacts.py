"""How a private person is reached: telephone, mail, home. What an office publishes is spared."""

import bisect
import re
from collections.abc import Iterator

import phonenumbers

from isac.policy.privacy import names
from isac.policy.privacy.records import candidates, in_url
from isac.stix.fangs import AT, DOT

# --- whose it is ------------------------------------------------------------------------------------

_OFFICE = re.compile(
    r"\b(?:board\sof\s(?:elections?|registrars?|supervisors|canvassers)|elections?\s(?:office|board|department|division"
    r"|commission|officials?|administrator|director|supervisor|center|line|help|protection|bureau|services|hq|warehouse)"
    r"|supervisor\sof\selections?|registrars?(?:'s)?(?:\soffice|\sof\svoters)|(?:county|city|town|municipal|village"
    r"|township|court)\s(?:clerk|auditor|recorder|registrar|hall|building|office|courthouse|administration|government"
    r"|annex|center|owned)|clerk(?:'s)?\soffice|clerk(?:-|\s)recorder|auditor(?:'s)?\soffice|court\s?house"
    r"|secretary\sof\sstate|\bsos\b|attorney\sgeneral|police\s(?:department|station)|government\scenter|state\s(?:house"
    r"|capitol|office)|capitol|annex|poll(?:ing)?\s(?:place|location|station|site)s?|tabulation\scenter|vot(?:e|ing)\s(?:cent(?:er|re)"
    r"|location|site)|drop\s?box|ballot\s(?:drop|box)|early\svoting|elementary|(?:middle|high)\sschool|h\.s\.|library"
    r"|church|temple|mosque|\bgym\b|(?:community|recreation|senior)\scenter|fire\s(?:station|house|department)"
    r"|hot\s?line|help\s?(?:line|desk)|service\sdesk|switchboard|front\sdesk|press\soffice|media\s(?:contact|office"
    r"|relations)|(?:tip|info(?:rmation)?|toll[\s-]?free|public|office|main|general|central|support|service|published"
    r"|after.hours)\s(?:line|number|phone|hours)|tech(?:nical)?\ssupport|customer\s(?:service|care|support)|cisa"
    r"|(?:ms-|ei-)?isac|fbi|homeland|dep(?:artmen)?t\.?\sof|bureau\sof|offices?|headquarters|hq|warehouse|campus"
    r"|university|college|hospital|bank|inc|llc|corp(?:oration)?|ltd|gmbh|company|vendor|data\s(?:center|hall)|hosting|host"
    r"|security\soperations|soc|noc|abuse|whois|registrant:|domain|voter\s(?:services|hotline|registration\soffice"
    r"|information|assistance|help|protection)|(?:republican|democratic)\sparty|letterhead|oficina\s(?:de|del)\s\w+|oficina|junta\s\w+(?:\sde\s\w+)?|condado"
    r"|ayuntamiento|p/n|part\s(?:no|number)|modem)\b",
    re.I,
)
_PERSON = re.compile(
    r"\b(?:voters?(?!\s(?:services|hotline|registration|information|info|assistance|help|protection|guide|outreach))"
    r"|callers?|cell(?:ular|phone)?|mobile|móvil|celular|home(?!\s?page|land|\soffice)|house(?!\sof)|casa|domicilio|personal|private"
    r"|unlisted|own\sphone|his|her|their|mother|father|husband|wife|spouse|son|daughter|kids|neighbor|residen[ct]\w*"
    r"|resid\w+|lives?|living|complain\w*|victim|citizen|poll\s?worker|election\sjudge|volunteer|constituent|elector"
    r"|applicant|sra?\.|mrs?\b|ms\b|whatsapp|votante|vive|sleeps|dox\w*|swat\w*|monsieur|madame|frau|herr|judge|signed"
    r"|holder|fname|lname|first\s?name|last\s?name)\b",
    re.I,
)
_BY_SOMEBODY = re.compile(r"\b(?:from|by|de)\b", re.I)
_TOLD = re.compile(r"\b(?:called|calls|phoned|contacted|rang|complained|told|wrote|visited|emailed|not)\b", re.I)
_END = re.compile(r"(?<=\w{3})[.;!?]\s|\n\n")


def _published(text: str, start: int, end: int) -> bool:
    """Does an office stand beside it in the sentence, and nothing that speaks of a private person?"""
    before, after = _END.split(text[max(0, start - 90) : start])[-1], _END.split(text[end : end + 45])[0]
    offices, people = list(_OFFICE.finditer(before)), list(_PERSON.finditer(before))
    if offices:
        if _BY_SOMEBODY.search(before, offices[-1].end()) or re.search(r"\bnot\b", before[: offices[-1].start()][-20:]):
            return False
        return not people or people[-1].start() < offices[-1].start() - 40
    office = _OFFICE.search(after)
    if not office or people or _PERSON.search(after[: office.start()]) or names.contains_name(before):
        return False
    return not _TOLD.search(after, 0, office.start())


def _of_somebody(text: str, start: int, end: int) -> bool:
    """Does a name or a word for a private person stand near?"""
    around = f"{text[max(0, start - 110) : start]} | {text[end : end + 70]}"
    if _PERSON.search(around) or names.contains_name(around):
        return True
    return names.ends_with_name(text[max(0, start - 45) : start], row=True)


# --- telephone numbers ------------------------------------------------------------------------------

_PHONE = re.compile(
    r"(?<![\w.])(?:\+?1[-. \n]{0,2})?(?:\([2-9]\d{2}\)\s?[-. \n]?|(?<![\w./])[2-9]\d{2}\s?[-. \n/]\s?)"
    r"[2-9]\d{2}\s?[-. \n]?\s?(?:\d{4}|\d\d[ -]\d\d)(?!\w|[-./:]\d)"
)
# No one has these, so nothing else looks like them: 555-0100 to 555-0199.
_FICTION = re.compile(
    r"(?<![A-Za-z\d.])(?<!\d[-. /)])(?<!\d\) )(?:(?:1|001)?[2-9]\d\d555|(?:[2-9]\d\d[ ;,]{1,2})?555[-. ]?)"
    r"01\d\d(?![A-Za-z\d]|[-.]\d)"
)
_TEN = re.compile(r"(?<![\d./-])(?<![A-Za-z])(?:\+?1)?([2-9]\d{2}[-. ]?[2-9]\d{6}|[2-9]\d{2}[-. ]\d{4})(?!\w|[-./]\d)")
_ABROAD = re.compile(r"(?<![\w+])(?:\+|00|011[ -])[1-9](?:[\s().-]{0,3}\d){7,14}(?!\w)")
_TELEPHONE = re.compile(
    r"(?<![a-z])(?:tele?phones?|phones?|tel\b|ph\b|cell(?:phone|ular)?|mobile|mob\b|call(?:ed|er|s|ing|back)?"
    r"|text(?:ed|s|ing)?\b|sms|fax|what+s\s?app|signal\b|dial\w*|reach\w*|landline|home\s(?:number|no)|best\sno"
    r"|tel[ée]fono|celular|m[óo]vil|llam\w+|vishing|voice\s?mail|vm\b|numero|number\sis|\b[chmpt]:)",
    re.I,
)


_PARAMETER = re.compile(r"(?:tel|phone|cell|mobile)\W{0,3}\Z", re.I)
_NO_PHONE = re.compile(
    r"(?:p/n|part\s?(?:no|number)?|case|ticket|serial|s/n|sku|model|isbn|invoice|ref(?:erence)?)\.?\W{0,4}\Z", re.I
)


def phones(text: str, low: str) -> Iterator[tuple[int, int]]:
    for one in (*candidates(_PHONE, text), *candidates(_FICTION, text)):
        start, end = one.span()
        if _toll_free(re.sub(r"\D", "", one[0])) or _published(text, start, end):
            continue
        before = text[max(0, start - 30) : start]
        if _NO_PHONE.search(before):
            continue
        if one.re is _FICTION and before.endswith("/") and in_url(text, start):
            continue
        said = _TELEPHONE.search(before)
        if len(one[0]) == 7 and not said:
            continue
        if (
            " " in one[0]
            and "(" not in one[0]
            and not said
            and (re.search(r"\d[\s,]{1,2}\Z", before) or re.match(r"[\s,]{1,2}\d", text[end : end + 3]))
        ):
            continue
        if one.re is _PHONE and in_url(text, start) and not _PARAMETER.search(before):
            continue
        yield start, end
    for one in candidates(_TEN, text):
        start, end = one.span(1)
        if _toll_free(one[1]) or in_url(text, start):
            continue
        beside = _TELEPHONE.search(text, max(0, start - 35), start) is not None
        if not beside and len(one[1]) == 10:
            beside = names.beside(text, start, end)
        if beside and not _published(text, start, end):
            yield start, end
    if "+" in text or "00" in text or "011" in text:
        for one in candidates(_ABROAD, text):
            if one[0][0] != "+" and not _TELEPHONE.search(text, max(0, one.start() - 30), one.start()):
                continue
            if _dialed(one[0]) and not _published(text, *one.span()):
                yield one.span()


def _toll_free(digits: str) -> bool:
    return digits.removeprefix("1")[:3] in ("800", "822", "833", "844", "855", "866", "877", "888") and len(digits) > 9


def _dialed(text: str) -> bool:
    """Is it a number that somewhere in the world could ring, and is not free of charge?"""
    digits = re.sub(r"\A(?:00|011)|\D", "", text)
    try:
        number = phonenumbers.parse(f"+{digits}")
    except phonenumbers.NumberParseException:
        return False
    if not phonenumbers.is_possible_number(number):
        return False
    kind = phonenumbers.number_type(number)
    return kind not in (phonenumbers.PhoneNumberType.TOLL_FREE, phonenumbers.PhoneNumberType.PREMIUM_RATE)


# --- mail -------------------------------------------------------------------------------------------

_MAIL = re.compile(
    r"(?<![\w.%+/-])([a-z0-9][\w.%+'-]{0,63}|[a-z0-9]{1,30} ?\. ?[a-z]{2,30})\s?@\s?"
    r"((?:[a-z0-9-]{1,63}\s?\.\s?){1,4}[a-z]{2,20})(?![\w@])",
    re.I,
)
_FILE = re.compile(r"(?i:\s?\.(?:pst|ost|mbox|eml|msg|zip|csv|txt|json|log|html?|png|jpe?g|pdf|xlsx?|docx?))+\Z")
_PROVIDERS = re.compile(
    r"(?:[\w-]+\.)*(?:gmail|googlemail|ya?hoo|ymail|rocketmail|hotmail|outlook|live|msn|passport|icloud|me|mac|aol|aim"
    r"|proton(?:mail)?|pm|tutanota|tuta(?:mail)?|gmx|mail|email|zoho(?:mail)?|yandex|ya|inbox|fastmail|hey|hushmail|comcast"
    r"|xfinity|verizon|att|sbcglobal|bellsouth|cox|charter|spectrum|rr|roadrunner|earthlink|mindspring|juno|netzero"
    r"|frontier(?:net)?|windstream|centurylink|centurytel|q|optonline|optimum|suddenlink|mediacombb|cableone|embarqmail"
    r"|ptd|tds|excite|lycos|netscape|web|t-online|freenet|orange|wanadoo|free|laposte|libero|virgilio|rediffmail|qq|163"
    r"|126|sohu|sina|foxmail|naver|hanmail|daum|uol|bol|terra|btinternet|ntlworld|sky|talktalk|shaw|rogers|bigpond|mailbox"
    r"|startmail|mailfence|prodigy|wowway|consolidated|rcn|insightbb|freemail|webmail|homemail|family)"
    r"\.(?:com|net|org|edu|co\.[a-z]{2}|com\.[a-z]{2}|[a-z]{2}|example|test|invalid|example\.(?:com|net|org))",
    re.I,
)
_ROLE_WORDS = frozenset(
    re.findall(
        r"[\w-]+",
        """info contact support help desk abuse security secure election elections vote votes voting voter voters clerk
    clerks webmaster postmaster hostmaster admin administrator no not noreply reply donotreply do press media news
    newsletter sales billing invoice invoices account accounts service services office team staff jobs career
    careers hr legal privacy registrar registration records soc cert csirt isac noc it tech ops alert alerts notify
    notification notifications update updates verify verification mail mailer daemon root test demo user example git
    public marketing customer customers care helpdesk feedback order orders payment payments shipping delivery bank
    county city town state board auditor auditors ballot ballots recorder director hotline tip tips report reports
    phish phishing spam threat intel research ransom decrypt recover recovery restore unlock file files data backup
    hack crypt locker paypal microsoft apple google amazon facebook docusign dropbox fedex dhl ups usps irs svc of
    the and for my your e email login online portal web server system systems network cyber""",
    )
)
_ROLE = re.compile(
    r"elections?(?!\w*fan)|registrar|no-?reply|helpdesk|support|(?<![a-z])office|decrypt|ransom|recover|unlock|locker|service\b",
    re.I,
)
_PERSONAL_NAME = re.compile(r"([a-z]{2,20})([._-])(?:[a-z][._-])?([a-z]{2,20})[._-]?\d{0,4}", re.I)
_INITIAL_NAME = re.compile(r"[a-z][._][a-z]{3,20}\d{0,4}", re.I)
_HOSTILE = re.compile(
    r"(?:\b|(?=\$))(?:senders?|sent\sfrom|came\sfrom|spoof\w*|attackers?|actors?|operators?|gang|group|adversary|threat|ransom\w*"
    r"|malicious|phish\w*|scam\w*|fraud\w*|c2|exfiltrat\w*|registrants?|whois|registered|reply-to|return-path|hacker"
    r"|extort\w*|decrypt\w*|attribut\w+|from-?address|fake|drop|\$to|jabber|xmpp)"
    r"(?:'s)?(?:\W+(?:e-?mails?|mail|address(?:es)?|accounts?|mailbox(?:es)?|contacts?|is|was|are|were|at|to|used|using"
    r"|uses|by|with|from|via|the|of|for|messages?|and|domains?|drop|note)){0,6}\W{0,5}\Z",
    re.I,
)
_OWNED = re.compile(
    r"\b(?:personal|private|home|voters?'?s?|her|his|their|my|resident'?s?|caller'?s?|citizen'?s?|reach(?:ed)?"
    r"|victim'?s?|recipients?|complainant'?s?|poll\s?worker'?s?|correo|applicant'?s?|e-?mail|--to)\b[^@.;]{0,40}\Z",
    re.I,
)
_BEFORE_ANGLE = re.compile(r"([^\W\d_]{2,})[,\s]+(?:[^\W\d_]\.?\s)?([^\W\d_]{2,})[\"',]?\s?[<(\[]?\Z")


def mails(text: str, low: str) -> Iterator[tuple[int, int]]:
    plain = text
    shift: list[tuple[int, int]] = []
    if "@" not in text or "[" in text or "(" in text or "{" in text or " at " in low or "arroba" in low:
        plain, shift = _unmasked(text)
    if "@" not in plain:
        return
    for one in candidates(_MAIL, plain):
        local = re.sub(r"\s", "", one[1]).partition("+")[0]
        domain = _FILE.sub("", re.sub(r"\s", "", one[2]))
        start, end = one.span()
        before = plain[max(0, start - 80) : start]
        if _role(local, domain) or _HOSTILE.search(before):
            continue
        words = _PERSONAL_NAME.fullmatch(local)
        person = (
            words is not None
            and names.is_name(words[1].title(), words[3].title())
            and (words[2] != "-" or names.given(words[1]) or names.given(words[3]))
        )
        if (
            person
            or _INITIAL_NAME.fullmatch(local)
            or _PROVIDERS.fullmatch(domain)
            or _OWNED.search(before[-60:])
            or _signed(before[-60:], local)
        ):
            yield _original(start, shift), _original(end, shift)


def _role(local: str, domain: str) -> bool:
    """Is it nobody's own address: `help.desk`, `franklincountyelections`?"""
    words = re.findall(r"[a-z]+", local.lower())
    numbered = any(map(str.isdigit, local)) and _PROVIDERS.fullmatch(domain)
    return (_ROLE_WORDS.issuperset(words) and bool(words) and not numbered) or _ROLE.search(local) is not None


def _signed(before: str, local: str) -> bool:
    """Does the name in front, `Jane Doe <`, stand in the address?"""
    said = _BEFORE_ANGLE.search(before)
    if said is None or not names.is_name(said[1], said[2]):
        return False
    return any(word.lower()[:5] in local.lower() for word in said.groups())


_WORD_DOT = re.compile(r"(?<=\w)\s(?:dot|DOT|punto)\s(?=\w)")
_WORD_AT = re.compile(r"(?<=\w)\s(?:at|AT|arroba)\s(?=[\w-]{2,40}(?:\.|\s(?:dot|DOT|punto)\s)\w)")


def _unmasked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text with at signs and dots as they are meant, and where that has made it shorter: (place, by how much)."""
    parts: list[str] = []
    shift: list[tuple[int, int]] = []
    at = size = 0
    marks = sorted(
        (one.start(), one.end(), char)
        for pattern, char in ((AT, "@"), (DOT, "."), (_WORD_AT, "@"), (_WORD_DOT, "."))
        for one in pattern.finditer(text)
    )
    for start, end, char in marks:
        if start < at:
            continue
        parts += [text[at:start], char]
        size += start - at + 1
        at = end
        shift.append((size, at - size))
    return "".join([*parts, text[at:]]), shift


def _original(place: int, shift: list[tuple[int, int]]) -> int:
    found = bisect.bisect_right(shift, (place, 1 << 62))
    return place + (shift[found - 1][1] if found else 0)


# --- home addresses ---------------------------------------------------------------------------------

_ROAD = (
    r"(?:st(?:reet)?|ave?(?:nue)?|r(?:oa)?d|blvd|bl|boulevard|ln|lane|pkwy|parkway|hwy|highway|terr?(?:ace)?"
    r"|cir(?:cle)?|trl|aly|xing|expy|fwy|mews|bnd|calle|avenida|hollow\srd)"
)
_ROAD_CAPITAL = (
    r"(?:Dr(?:ive)?|Ct|Court|Way|Pl(?:ace)?|Trail|Loop|Sq(?:uare)?|Pike|Run|Row|Path|Alley|Crossing|Cove|Cv|Pt|Pointe?"
    r"|Ridge|Rdg|Hill|Bend|Walk|Plaza|Plz|Heights|Hts|Hollow|Holw|Landing|Lndg|Park|Pass|Spur|Turnpike|Tpke|View|Vw"
    r"|Village|Grove|Glen|Green|Meadows?|Manor|Knoll|Estates?|Close|Gardens|Commons|Broadway"
    r"|DR|DRIVE|CT|COURT|WAY|PL|PLACE|LOOP|TRAIL|RUN|PIKE|PASS|HOLLOW|CLOSE|CV|PT|SQ)"
)
_ROAD_SMALL = (
    r"(?:drive|dr|court|ct|way|place|pl|trail|loop|square|pike|run|row|path|alley|crossing|cove"
    r"|ridge|hill|bend|hollow|close|pass)"
)
_NUMBER = r"(?<![\w./:$#-])(?<!\d,)"
_STREET = re.compile(
    r"(?P<no>[NWSE]?\d{1,6}(?:-\d{1,4})?[A-Za-z]?(?:\s1/2)?)\s{1,2}"
    r"(?P<name>(?:(?:[NSEWnsew]\.?|[NSns][EWew]\.?|(?i:north|south|east|west))\s)?"
    rf"(?:(?:\d{{1,3}}(?:st|nd|rd|th|ST|ND|RD|TH)|[^\W\d_][\w'.-]{{0,20}})\s){{1,4}}?)"
    rf"(?P<road>(?i:{_ROAD})|{_ROAD_CAPITAL}|{_ROAD_SMALL})\b(?!'|-\w|\.\w|/\w)"
)
_ROUTE = re.compile(
    rf"{_NUMBER}[NWSE]?\d{{1,6}}[A-Za-z]?\s(?:(?:[NSEW]\.?|[NS][EW]|North|South|East|West)\s)?(?:(?:old|county|co\.?|state|u\.?s\.?"
    r"|township|twp\.?|forest|farm[\s-]to[\s-]market|ranch)\s){0,2}"
    r"(?:c\.?r\.?|s\.?r\.?|f\.?m\.?|hwy\.?|highway|route|rte\.?|r(?:oa)?d\.?|us|th)[\s-](?:\d{1,4}[A-Z]?|[A-Z]{1,2})\b(?![./:])"
    rf"|{_NUMBER}\d{{2,5}}\s(?:north|south|east|west|[NSEW]\.?)\s\d{{2,5}}\s(?:north|south|east|west|[NSEW])\b"
    r"|(?:highway|hwy|route)\s\d{1,3}\s(?:north|south|east|west),?\sno\.?\s\d{1,5}",
    re.I,
)
_RURAL = re.compile(
    r"(?<!\w)(?:r\.?r\.?|rural\sroute|hc|star\sroute|psc|cmr|unit)\s?#?\d{1,5},?\s(?:po\s)?box\s\d{1,6}"
    r"|(?<!\w)lot\s\d{1,4}\s(?:\w+\s){1,3}(?:mobile|trailer|mhp|park|estates)\b",
    re.I,
)
_BOX = re.compile(r"(?<!\w)(?:p\.?\s?o\.?\s?box|post\soffice\sbox|apartado(?:\spostal)?|apdo\.?)\s?#?\s?\d{1,6}", re.I)
_CALLE = re.compile(
    r"(?<!\w)(?:calle|avenida|av\.|carrera|camino|carr\.)\s(?:[^\W\d_][\w'.-]{0,20}\s?){1,4},?\s?(?:#|n[úu]m\.?|no\.?)?\s?\d{1,5}\b"
    r"|(?<!\w)urb\.?\s(?:[^\W\d_][\w'.-]{0,20}[\s,]{1,2}){1,4}[A-Z]{0,2}-?\d{1,4}\b"
    r"|(?<![\w./:$#-])\d{1,5},?\s(?:bis\s)?(?:rue|chemin|allée|impasse|calle|(?:boulevard|avenue|place)(?=\sd[eu]))\s(?:d\w{0,2}\s|l[ae]s?\s)?[^\W\d_]\w+"
    r"|(?<!\w)[A-ZÄÖÜ][a-zäöüß]+(?:straße|strasse|str\.|weg|platz)\s\d{1,4}\b",
    re.I,
)
_RESIDES = re.compile(
    r"\b(?:liv(?:es|ed|ing)\s(?:at|in|on)|resid(?:es|ed|ing)\s(?:at|in|on)|home(?!land|\s?page)|residence|residential\saddress"
    r"|mailing\saddress|street[\s-]?address|house\s(?:at|is)|address\s?\d?(?:\sis|\sof\srecord|\son\sfile|:|=)|addr(?:ess)?\d?\s?[:=]"
    r"|domicilio|direcci[óo]n|vive\sen|moved\s(?:to|from)|(?:his|her|their|voter'?s|my\sown)\saddress|dox|house|family\sis\sat|outside|we\sknow|ship\sto)"
    r"[^.;\d]{0,30}\Z",
    re.I,
)
_ANY_HOUSE = re.compile(
    rf"{_NUMBER}\d{{1,6}}[A-Za-z]?\s(?:[NSEW]\.?\s)?[A-Z][\w'.-]{{2,20}}(?:\s[A-Z][\w'.-]{{2,20}}){{0,2}}"
    r"(?=,|\n|\Z|[\"')]|\.(?:\s|\Z)|\s(?:in|apt|unit|#|;)\b|\s;)"
)
_TOWN = re.compile(r"[.,]?\s?[^\W\d_][\w'. -]{1,30},?\s(?:[A-Z]{2}\b|[A-Z][a-z]{3,})\.?,?\s\d{5}(?:-\d{4})?")
_FLAT = re.compile(
    r"[.,]?\s?(?:apt|apartment|unit|lot|trlr|trailer|rear|upper|lower|depto|apto)\b\.?\s?#?\s?[\w-]{1,6}|[.,]?\s?#\s?\w{1,5}",
    re.I,
)
_SUITE = re.compile(
    r"[.,]?\s?(?:suite|ste|floor|fl|room|rm|bldg|building|data\shall|rack|\d+(?:st|nd|rd|th)\sfloor)\b", re.I
)
_NO_STREET = frozenset(
    re.findall(
        r"[\w-]+",
        """the a an of and or in to for with from by on this that is was were are has have had google hard disk usb
        flash network shared supreme federal district circuit appeals appellate criminal high attack access data
        check easy windows microsoft registry files file domains domain hosts host ips ip new different other
        more first per days day hours hour minutes seconds years year months weeks percent bytes kb mb gb bit
        bits times users samples million billion which when via only using used as at it its be same search
        known unique total active malicious c2 command case cases version wall entry key keys end one two three
        fast no any all his her their but not cve process logical mapped external stack heap call server path
        monkeys she he they who said we our my you your accounts offices""",
    )
)
_GLUED = re.compile(r"[\w/:$#-]\Z|\w\.\Z")
# Of a form that has a field for each part.
_PARTS = re.compile(
    r"(?:house\s?(?:no|num\w*)|num|number)\W{1,5}\d{1,6}\W{1,5}(?:str\w*|road)(?:\s?name)?\W{1,5}[A-Za-z ]{3,30}", re.I
)
_CLEAR = frozenset(
    re.findall(
        r"[\w-]+",
        """st street ave avenue rd road blvd boulevard lane ln hwy highway parkway pkwy""",
    )
)


def addresses(text: str, low: str) -> Iterator[tuple[int, int]]:
    for one in candidates(_STREET, text):
        start, end = one.span()
        if _GLUED.search(text, max(0, start - 2), start):
            continue
        words = re.findall(r"[^\W\d_]{2,}", one["name"].casefold())
        if not _NO_STREET.isdisjoint(words) or re.match(r"\s(?:journal|market|times)\b", text[end : end + 9], re.I):
            continue
        if (
            one["name"].islower()
            and one["road"].lower() not in _CLEAR
            and not _RESIDES.search(text, max(0, start - 60), start)
        ):
            continue
        if _home(text, start, end):
            yield start, end
    for pattern in (_ROUTE, _RURAL, _CALLE, _PARTS):
        for one in candidates(pattern, text):
            if pattern is _RURAL or _home(text, *one.span()):
                yield one.span()
    if "box" in low or "apartado" in low or "apdo" in low:
        for one in candidates(_BOX, text):
            start, end = one.span()
            around = text[max(0, start - 60) : start]
            if not _published(text, start, end) and (
                names.contains_name(f"{around} | {text[end : end + 40]}")
                or _RESIDES.search(around)
                or _PERSON.search(around)
            ):
                yield start, end
    if any(
        hint in low for hint in ("liv", "resid", "home", "house", "addr", "direcc", "domicilio", "vive", "moved", "dox")
    ):
        for one in candidates(_ANY_HOUSE, text):
            if _RESIDES.search(text, max(0, one.start() - 70), one.start()) and _home(text, *one.span()):
                yield one.span()


def _home(text: str, start: int, end: int) -> bool:
    """Does something say that a person lives there, and nothing that it is an office?"""
    flat = _FLAT.match(text, end)
    said = _RESIDES.search(text, max(0, start - 70), start)
    if flat or (said and not _OFFICE.search(text, said.start(), start)):
        return True
    if _SUITE.match(text, end) or _published(text, start, end):
        return False
    return _TOWN.match(text, end) is not None or _of_somebody(text, start, end)
