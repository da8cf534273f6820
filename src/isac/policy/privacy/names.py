"""Does a person's name stand here? By its shape and common given names, without a model.

Two words with capitals are a name unless one of them is a word of the trade, a place or an office; letters tell
nothing («DOE JANE», «jane doe») one of them has to be a common given name.
"""

import itertools
import re

_GIVEN = frozenset(
    re.findall(
        r"[\w-]+",
        """aaron abigail adam adrian aisha alan albert alejandro alex alexander alexis alice alicia allen alma alyssa
    amanda amber amina amy ana andre andrea andrew angel angela anita ann anna anne annie anthony antonio april
    arlene armando arnold arthur ashley audrey austin barbara beatrice becky ben benjamin bernard bernice bertha
    beth betty beverly bill billy bob bobby bonnie brad bradley brandon brandy brenda brent brett brian brittany
    bruce bryan caleb calvin cameron carl carla carlos carmen carol carole caroline carolyn carrie casey catherine
    cathy cecilia chad charlene charles charlie charlotte cheryl chester chloe chris christian christina christine
    christopher cindy claire clara clarence claudia clayton clifford clyde cody connie corey cory courtney craig
    cristina crystal curtis cynthia daisy dale dan dana daniel danielle danny darlene darrell darren dave david dawn
    dean deanna debbie deborah debra delores denise dennis derek derrick diana diane diego dolores don donald donna
    doris dorothy doug douglas duane dustin dwayne dwight earl eddie edgar edith edna edward edwin eileen elaine
    eleanor elena eli elias elijah elizabeth ella ellen elsie emily emma eric erica erik erin ernest esther ethan
    ethel eugene eva evan evelyn fatima felicia felix fernando florence floyd frances francis francisco frank
    franklin fred frederick gabriel gail gary gene george gerald geraldine gilbert gina gladys glen glenda glenn
    gloria gordon grace greg gregory guadalupe guillermo gwendolyn hannah harold harriet harry harvey hassan hazel
    heather hector heidi helen henry herbert herman holly howard hugh ian ibrahim ida irene iris irma isaac isabel
    isabella ivan jack jackie jackson jacob jacqueline jaime jake jamal james jamie jan jane janet janice jared
    jasmine jason javier jay jean jeanette jeanne jeff jeffery jeffrey jennifer jenny jeremiah jeremy jerome jerry
    jesse jessica jesus jill jim jimmy jo joan joann joanne joe joel john johnny jon jonathan jordan jorge jose
    joseph josephine josh joshua joy joyce juan juana juanita judith judy julia julian julie justin karen karl kate
    katherine kathleen kathryn kathy katie kay kayla keith kelly ken kenneth kevin kim kimberly kirk kristen kristin
    kurt kyle lakisha lance larry latoya laura lauren laurie lawrence leah lee lena leo leon leona leonard leroy
    leslie lester lewis liam lillian lillie linda lisa lloyd logan lois lonnie loretta lori lorraine louis louise
    lucas lucia lucille lucy luis luke luz lydia lynn madison mae manuel marc marcia marcos marcus margaret
    margarita maria mariah marian marie marilyn mario marion marjorie mark marlene marsha marshall martha martin
    marvin mary mason mateo matt matthew maureen maurice max megan mei melanie melinda melissa melvin mercedes mia
    michael michele michelle miguel mike mildred milton minnie miriam mitchell mohamed mohammed molly monica morgan
    muhammad myrtle nancy naomi natalie natasha nathan nathaniel neil nellie nelson nicholas nicole nina noah noel
    nora norma norman olga olivia omar oscar owen pamela pat patricia patrick paul paula pauline pearl pedro peggy
    perry peter philip phillip phyllis priya rachel rafael ralph ramon ramona randall randy raul ray raymond rebecca
    regina renee rhonda ricardo richard rick ricky rita robert roberta roberto robin rodney roger roland ron ronald
    rosa rosalind rose rosemary rosie ross roy ruben ruby russell ruth ryan sally salvador sam samantha samuel
    sandra sara sarah scott sean sergio seth shane shannon sharon shawn sheila shelley sherri sherry shirley sidney
    sofia sonia sophia sophie stacey stacy stanley stella stephanie stephen steve steven stuart sue susan suzanne
    sylvia tamara tammy tanya tara taylor ted teresa terrence terri terry thelma theodore theresa thomas tiffany tim
    timothy tina todd tom tommy toni tony tonya tracey tracy travis trevor troy tyler tyrone valerie vanessa vera
    vernon veronica vicki vickie victor victoria vincent viola violet virgil virginia vivian wade wallace walter
    wanda warren wayne wendy wesley wei wilfred will willard william willie wilma xavier ximena yesenia yolanda
    yusuf yvonne zachary zoe""",
    )
)
#: what is written with a capital and names nobody
_TRADE = frozenset(
    re.findall(
        r"[\w-]+",
        """a about access account activity actor address admin administration adobe advanced advisory after agency alert
    all an analysis analyst and android another apache api app apple application apt april archive article as
    associated at attachment attack attacker august authority avenue aws azure backdoor backup bank based batch bear
    been before began between blog blue board border botnet box bridge browser build bulletin bureau by bypass c2
    campaign case casino center central cert certificate check chrome cisa cisco citrix city clerk client cloud
    cobalt code collection command commission committee company compiled compromised control copyright corporation
    council county court created credential criminal crypto cyber dark data database date day december defender
    defense delivery democratic department deputy description desk detected detection device director discovered
    discovery division dns document domain download downloader drive dropper drop due during eagle east edge edition
    elastic election elections elector email emotet employee end energy engineering enterprise entry error event
    evil exchange executive exploit explorer fancy farm favicon february federal feed file filename final finance
    firefox firewall firmware first fixed flash follow for force form forum found framework friday from full fund
    gateway general generic german github global gmail google government governor group hack hacker hash health
    heartbleed help hidden history home host hosting hotline house identified if image important in incident
    indicator infection information infrastructure infostealer initial injection insikt install instagram institute
    intel intelligence international internet invoice iocs iphone iran is issue it item january java joint july june
    justice kaspersky kernel key kit known kong korea korean lab labs last law lazarus learn letter library link
    linux list live load local locker log login long loader los mac machine macos macro mail main malicious malware
    management manager mandiant march mass may meltdown member message microsoft military miner ministry mobile
    module monday mozilla msi my name nation national network new news next north not note notice november number
    october of office officer official oil old on online open operation operations operator or oracle order
    organization original os other our outlook own page palo panda panel part partner password patch payload payment
    pdf people phase phishing phone php plan platform plugin police poll polling portal post powershell precinct
    president press primary prime privacy private process processing product program project proof protocol provider
    proxy public published python quarter quick ransomware rapid rat record records red reference refresh region
    register registered registrar registration registry release released remote report reported reporter request
    research researcher response result reuters review revised risk root router rule run russian russia safari
    sample san saturday savings scam scan scanner school script search secretary section sector security see seen
    sender senate senator september server service services session set shell show signature signed since site smart
    social software solution some source south spam spear special spider spring stage standard start started state
    statement states status stealer stolen store storm strike student subject suite summary sunday supply support
    supreme suspected symantec system systems target team tech technical technology telegram the there this threat
    thursday ticket time title to token tool top toronto tor tracker trade traffic trend trojan trust tuesday turla
    twitter type ukraine ukrainian union unit united university unknown until update updated upload urgent url usa
    user valid value variant vendor version via viper virus visit vote voter voters vpn vulnerability was water we
    web webinar website wednesday week west when while whois windows wiper with wordpress worker world worm x-force
    xls year york you your zero zip zone hall grange gym ctr privacy proxy shield polling ballot ballots poll
    registrant domain country chinese china india indian pakistan israel israeli turkish turkey syria syrian vietnam
    japan japanese ohio texas florida california nevada utah alabama alaska arizona arkansas colorado connecticut
    delaware hawaii idaho illinois indiana iowa kansas kentucky louisiana maine maryland massachusetts michigan
    minnesota mississippi missouri montana nebraska hampshire jersey mexico carolina dakota oklahoma oregon
    pennsylvania rhode tennessee vermont washington wisconsin wyoming columbus angeles francisco diego antonio vegas
    chicago houston boston london paris berlin moscow beijing tehran kiev kyiv seoul tokyo hong singapore dob ssn
    born birth birthday address cell phone tel email driver drivers license dl id male female mr mrs ms dr his her
    street st ave road rd lane ln blvd resident lives caller victim applicant registrant deceased citizen patient""",
    )
) - {"diego", "antonio", "francisco", "april", "may", "will"}
#: between a name and what belongs to it in a list of people
_FILLING = frozenset(
    re.findall(
        r"[\w-]+",
        """m f x u male female jr sr ii iii iv dem rep ind npa d r i w b h a white black hispanic asian mr mrs ms dr aka
    nee dob born voter active inactive""",
    )
)
_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['’.-](?=[^\W_]))*\.?|\d[\w-]{0,11}|[^\w\s,|()\"'/:;<>\[{*=-]")


def given(word: str) -> bool:
    """Is it a common given name?"""
    return word.casefold() in _GIVEN


def is_name(first: str, second: str) -> bool:
    """Are these two words, as they stand in text, a person's name?"""
    low = first.casefold().rstrip("."), second.casefold().rstrip(".")
    if min(map(len, low)) < 2 or not _TRADE.isdisjoint(low):
        return False
    if first.istitle() and second.istitle():
        return True
    capital = first[0].isupper() and second[0].isupper()
    odd = capital and not (first.isupper() or second.isupper())  # McDonald, DeShawn
    return odd or not _GIVEN.isdisjoint(low)


def ends_with_name(text: str, *, row: bool = False) -> bool:
    """Does a name stand at the end of the text, but for what a list puts in between (sex, suffix, a number)?

    In a `row` of a list two words in capitals are enough.
    """
    return _leads(list(reversed(_WORD.findall(text))), backwards=True, row=row)


def begins_with_name(text: str) -> bool:
    """Does a name stand at the beginning of the text?"""
    return _leads(_WORD.findall(text), backwards=False)


def contains_name(text: str) -> bool:
    """Does a name of two words with capitals stand anywhere in the text?"""
    words = _WORD.findall(text)
    words = [word for word in words if len(word.rstrip(".")) > 1]
    return any(one[0].isupper() and two[0].isupper() and is_name(one, two) for one, two in itertools.pairwise(words))


def beside(text: str, start: int, end: int) -> bool:
    """Does a name stand directly before or behind the place?"""
    return ends_with_name(text[max(0, start - 45) : start]) or begins_with_name(text[end : end + 40])


def _leads(words: list[str], *, backwards: bool, row: bool = False) -> bool:
    skipped = 0
    while words and skipped < 5 and (words[0][0].isdigit() or words[0].casefold().rstrip(".") in _FILLING):
        words = words[1:]
        skipped += 1
    whole = [word for word in words[:4] if len(word.rstrip(".")) > 1]  # an initial in between tells nothing
    if len(whole) < 2 or not all(word[0].isalpha() for word in words[: words.index(whole[1]) + 1]):
        return False
    first, second = (whole[1], whole[0]) if backwards else (whole[0], whole[1])
    return is_name(first, second) or (
        row and first.isupper() and second.isupper() and is_name(first.title(), second.title())
    )
