"""Names, addresses, hospitals and employers in English text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from iimedgpt.records.deid.found import Found
from iimedgpt.records.raw import Category

_WORD = r"[A-Z][a-zA-Z]*(?:['’-][A-Za-z][a-z]+)*"
_PART = rf"(?:(?:{_WORD})|[A-Z]\.?)"
_LINK = r"(?: |, ?| (?:van|von|de|der|den|del|la|le|bin|ibn|al|el|da|di|dos|O['’]) ?)"
_NAME = rf"{_WORD}(?:{_LINK}{_PART}){{0,3}}(?:,? (?:Jr|Sr|II|III|IV)\.?)?"
# capitalised words that begin sentences or stand in notes and are no names
_NO_NAME = (
    r"(?!(?:I|The|He|She|You|It|Yes|No|And|But|So|My|Your|We|They|This|That|These|Those|Okay|Ok|Thank|Thanks|What|How|Is|Are|Do|Does|Did|Has|Have|Had|Was|Were|"
    r"Patient|Patients|Doctor|Nurse|Physician|Surgeon|Unknown|None|Not|Same|Self|Mother|Father|Wife|Husband|Son|Daughter|Brother|Sister|Date|Time|Age|Sex|Gender|Male|Female|Phone|Address|"
    r"Room|Bed|Ward|Unit|Department|Clinic|Hospital|Center|Medical|Emergency|General|Internal|Family|Follow|Please|Continue|Start|Stop|Discharge|Admission|Diagnosis|History|Assessment|Plan|"
    r"Hello|Hi|Good|Well|Right|Left|All|Any|Some|There|Then|When|Where|Who|Why|If|In|On|At|By|For|From|To|With|Without|Of|Or|As|An|A|Can|Could|Would|Will|Should|May|Let|Just|Also|Now|Today|Yesterday|Tomorrow|"
    r"Reports|Denies|Chief|Complaint|Review|Physical|Exam|Vital|Blood|Heart|Lungs|Chest|Abdomen|Report|Call|Called|Consult|Consulted|Signed|Electronically|Dictated|Attending|Resident|Cardiology|Neurology|Oncology|Surgery|Radiology|Pathology|"
    r"Pediatrics|Psychiatry|Orthopedics|Dermatology|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|January|February|March|April|June|July|August|September|October|November|December|MRN|DOB|SSN|CT|MRI|ECG|EKG|ICU|ER|ED)(?![A-Za-z]))"
)
_ROLES = (
    r"patient(?:'s)? name|name of patient|full name|first name|last name|surname|maiden name|preferred name|name|signed by|signed|signature|attending(?: physician| surgeon)?|dictated by|transcribed by|reviewed by|"
    r"verified by|performed by|ordered by|referred by|referring(?: physician| provider| doctor)?|ordering(?: physician| provider)?|reported by|interpreted by|read by|prepared by|written by|authored by|author|electronically signed by|"
    r"e-signed by|physician|provider|primary care(?: physician| provider)?|PCP|surgeon|assistant|first assistant|anesthesiologist|anaesthetist|anesthetist|radiologist|pathologist|cardiologist|consultant|resident|intern|fellow|nurse|scrub nurse|circulating nurse|"
    r"RN|technician|technologist|sonographer|therapist|pharmacist|dietitian|social worker|case manager|interpreter|witness|witnessed by|informant|historian|emergency contact|contact person|contact|next of kin|guardian|parent|mother|father|spouse|wife|husband|son|daughter|"
    r"brother|sister|caregiver|accompanied by|seen by|examined by|discussed with|spoke with|spoke to|per|cc|from|to|subscriber|policy holder|insured|recipient|operator|collected by|received by|approved by|countersigned by|patient|pt|doctor|dr|by|supervisor|supervising physician|caller|called by|taken by|client|recorded by|noted by|entered by|completed by"
)
_LABELLED = re.compile(
    rf"(?i:(?<![A-Za-z])(?:{_ROLES}))(?: ?\((?:[^()\n]{{1,20}})\))? ?[:=|] {{0,4}}(?:Dr\.? |Mr\.? |Mrs\.? |Ms\.? |Prof\.? )?{_NO_NAME}({_NAME})(?=[\n,.;()|/]|  | -|$| (?:[a-z0-9]|M\.?D|DO|RN|NP|PA|MRN|DOB|Age|Sex|Date|Phone|ID|Room))"
)
_LABELLED_LINE = re.compile(rf"(?i:(?:{_ROLES}))(?: ?\((?:[^()\n]{{1,20}})\))? ?[:=|] {{0,4}}{_NO_NAME}({_NAME})")
_AGENT = re.compile(
    rf"(?i:(?<![A-Za-z])(?:signed by|dictated by|transcribed by|reviewed by|verified by|performed by|ordered by|referred by|reported by|interpreted by|read by|prepared by|written by|seen by|examined by|discussed with|spoke with|spoke to|accompanied by|"
    rf"assisted by|followed by|evaluated by|witnessed by|collected by|attended by|named|my name is|this is|i am|i'm|call me|goes by|known as|called|nurse|sister|her (?:husband|son|daughter|mother|father|brother|sister|friend|neighbor|neighbour|partner|aunt|uncle|niece|nephew|caregiver)|"
    rf"his (?:wife|son|daughter|mother|father|brother|sister|friend|neighbor|neighbour|partner|aunt|uncle|niece|nephew|caregiver)|wife|husband|son|daughter|mother|father|brother|sister|partner|friend|neighbor|neighbour|patient|surgeon|resident|attending|physician|therapist|pharmacist|caregiver|dear|hi|hello|thanks|regards|sincerely|roommate|colleague|fellow|intern|consultant|anesthesiologist|radiologist|cardiologist|interpreter),? )"
    rf"{_NO_NAME}({_NAME})"
)
_TITLE = re.compile(rf"(?<![A-Za-z])(?:Dr|Mr|Mrs|Ms|Prof|Drs|Messrs|Mx|Sr|Rev|Fr)\.? {{1,2}}{_NO_NAME}({_NAME})")
_LONG_TITLE = re.compile(
    rf"(?<![A-Za-z])(?:Doctor|Miss|Nurse|Professor|Mister|Madam|Sister|Uncle|Aunt|Auntie|Grandma|Grandpa) {_NO_NAME}({_NAME})"
)
_DEGREE = re.compile(
    rf"(?<![A-Za-z'’]){_NO_NAME}({_NAME})(?=,? (?:M\.?D|D\.?O|R\.?N|N\.?P|P\.?A(?:-C)?|Ph\.?D|MBBS|FACS|FRCS|LPN|DDS|DMD|DPM|PT|OT|RPh|PharmD|MSW|LCSW|CRNA|FNP|BSN|MSN|RD|RT|CNM)(?![A-Za-z]))"
)
_AGED = re.compile(
    rf"(?:^|(?<=[\n.;:(] )|(?<=\n)|(?<=\()|(?<=[a-z,] )){_NO_NAME}({_NAME})(?=,? (?:is |was )?(?:an? |the )?(?:[0-9]{{1,3}}|[a-z]+-?[a-z]*)[ -]?(?:years?|yrs?|yo\b|y/o|year-old|months?[ -]old)|, (?:[0-9]{{1,3}}|male|female|M|F)(?=[,.; )])| ?\((?:DOB|MRN|[0-9]{{1,3}} ?[MFmf]))"
)
_VERB = re.compile(
    rf"(?:(?<=[.;:!?] )|(?<=\n)|^|(?<=that )|(?<=and )|(?<=when )|(?<=while )|(?<=, )){_NO_NAME}({_WORD}(?: {_WORD})?)(?= (?:denies|denied|reports|reported|states|stated|complains|complained|presents|presented|underwent|endorses|endorsed|says|said|notes that|noted that|mentions|mentioned|tells|told|called|lives|works|agreed|agrees|tolerated|returns|returned|came|comes|describes|described|admits|admitted to|feels|felt|takes|will follow|is doing|was seen|was admitted|was discharged|was brought|has been|is a|was a|phoned|asked|asks|wants|wishes|declined|signed|consented|understands|understood|explained|confirmed|requested)(?![a-z]))"
)
_TITLECASE_NOT = re.compile(
    r"^(?:CT|MRI|X|EKG|ECG|Labs?|Imaging|Exam|Biopsy|Colonoscopy|Chemotherapy|Surgery|Review|Mom|Dad|Everyone|Nobody|Someone|Somebody|Anyone|Pain|Symptoms|Nothing|Everything|Medications?|Family|Neurology|Ultrasound|Echocardiogram|Pathology|Radiology|Mammogram|Insurance|Social|Sleep|Appetite|"
    r"Her|His|Their|Our|Its|One|Both|Neither|Either|Each|Most|Many|Few|Other|Another|Such|Here|Overall|However|Currently|Recently|Later|Since|After|Before|During|Because|Although|While|Until|Upon|Over|Once|Twice|Never|Always|Only|Otherwise|Additionally|Subsequently|Previously|Initially|Finally|Again|Still|Per|Status|Past|Chronic|Acute|Mild|Severe|Positive|Negative|Normal|Abnormal|Stable|New|Old|Mr|Mrs|Ms|Dr)$"
)
_MEDICAL_TAIL = re.compile(
    r"(?i)^(?:disease|syndrome|sign|test|phenomenon|criteria|score|scale|classification|maneuver|reflex|palsy|lymphoma|sarcoma|tumou?r|virus|catheter|procedure|operation|fracture|contracture|thyroiditis|esophagus|nodes?|stage|grade|index|anemia|chorea|ulcer|hernia|triad|law|lines?|bodies|cells?|stain|agar|tube|drain|stitch|position|technique|approach|nevus|duct|gland|ligament|canal|fever|cough|solution|lactate)"
)

_PATTERNS: tuple[tuple[Category, str], ...] = (
    (
        "hospital",
        r"(?<![A-Za-z])(?!(?:The|This|Our|A|An|Local|General|Community|Regional|Outpatient|Pain|Emergency|Urgent|Wound|Eye|Sleep|Headache|Diabetes|Anticoagulation|Coumadin|Memory|Travel|Walk|Fracture|Hand|Spine|Breast|Cancer|Dental|Surgery|Cardiology|Oncology|Neurology|Orthopedic|Pediatric|Primary) (?:Hospital|Clinic|Center|Care))"
        r"((?:(?:St|Mt|Ft)\. )?(?:[A-Z][A-Za-z.'’&-]+ |of |the |and |at ){1,6}(?:Hospitals?|Medical Cent(?:er|re)|Clinic|Health Cent(?:er|re)|Infirmary|Sanatorium|Hospice|Nursing Home|Medical Group|Medical Associates|Health System|Healthcare|Rehabilitation Cent(?:er|re)|Cancer Cent(?:er|re)|Surgery Cent(?:er|re)|Health Services|Care Cent(?:er|re)|Memorial|Institute|Dispensary|Polyclinic|Maternity)(?: of [A-Z][a-z]+(?: [A-Z][a-z]+)?)?)(?![A-Za-z])",
    ),
    (
        "address",
        r"(?<![0-9A-Za-z])[0-9]{1,6}(?:-[0-9]{1,4})?[A-Za-z]? (?:(?:North|South|East|West|N|S|E|W|NE|NW|SE|SW)\.? )?(?:(?:[A-Z][a-z'’]+|[0-9]{1,3}(?:st|nd|rd|th)) ){1,4}"
        r"(?:Street|St|Avenue|Ave|Road|Rd|Drive|Dr|Lane|Ln|Boulevard|Blvd|Court|Ct|Place|Pl|Way|Terrace|Ter|Circle|Cir|Parkway|Pkwy|Highway|Hwy|Square|Sq|Trail|Trl|Row|Crescent|Close|Alley|Pike|Path|Loop|Run|Walk|Gardens|Mews|Hill|Grove|Quay|Green|Park)\.?(?![a-z])"
        r"(?:,? ?(?:Apt|Apartment|Unit|Suite|Ste|#|Floor|Fl|Room|Building|Bldg|Flat)\.? ?#?[0-9A-Za-z-]{1,6})?(?:[,\n]? {0,2}(?:[A-Z][a-z'’]+(?: [A-Z][a-z]+){0,2}))?(?:,? [A-Z]{2}(?![A-Za-z]))?(?:,? [0-9]{5}(?:-[0-9]{4})?)?(?:,? [A-Z]{1,2}[0-9]{1,2}[A-Z]? [0-9][A-Z]{2})?",
    ),
    (
        "address",
        r"(?<![A-Za-z])P\.?O\.? Box [0-9]{1,6}(?:, [A-Z][a-z]+(?: [A-Z][a-z]+)?)?(?:,? [A-Z]{2})?(?: [0-9]{5})?",
    ),
    ("address", r"(?<![A-Za-z])[A-Z][a-z]+(?: [A-Z][a-z]+){0,2}, [A-Z]{2},? [0-9]{5}(?:-[0-9]{4})?"),
    (
        "address",
        r"(?i:(?<![A-Za-z])(?:home |mailing |street |current |permanent |residential |work |billing )?address(?:es)?)(?: ?\([^()\n]{1,15}\))? ?(?:[:=|]| is| was) {0,3}((?=[^\n;]{0,60}[A-Za-z])[^\n;|]{4,90}?)(?=\.(?: |$)|\n|;|$|  |,? (?i:phone|tel|mobile|MRN|DOB|email))",
    ),
    (
        "address",
        r"(?i:(?<![a-z])(?:lives|living|lived|resides|residing|resided|moved|relocated|born|raised|grew up|home|originally|native|returned|staying|stays|traveled|travelled|visiting|resident|house|apartment|farm)(?: (?:alone|independently|currently|now|at home|back|recently|with (?:his|her|their) [a-z]+|and raised|and works|and grew up))*,? (?:in|at|on|from|to|of|near|outside) )((?:the )?(?:[0-9]{1,6} )?[A-Z][A-Za-z'’-]+(?:(?: |, ?| of | on | upon )[A-Z0-9][A-Za-z0-9'’-]*){0,5})",
    ),
    (
        "employer",
        r"(?i:(?<![a-z])(?:works|worked|working|employed|employee|job|position|employment|retired|retiring|teaches|taught|studies|studied|studying|student|enrolled|attends|attended|laid off|volunteers|intern(?:s|ing)?|teacher|engineer|nurse|clerk|manager|driver|cashier|accountant|mechanic|technician|welder|foreman|machinist|janitor|cook|waitress|waiter|secretary|operator|salesman|supervisor|consultant|professor|electrician|carpenter|guard)(?: [a-z]+){0,6}? (?:at|for|by|from|with|in) )((?:the )?[A-Z][A-Za-z'’&.-]+(?:(?: | & | of | and | at )(?:[A-Z][A-Za-z'’&.-]*|[0-9]+)){0,6})",
    ),
    (
        "employer",
        r"(?i:(?<![a-z])(?:employer|occupation/employer|place of work|company|workplace|school|employer name)) ?[:=|] {0,3}((?!(?i:none|retired|unemployed|self|unknown|n/a))[^\n,;.]{2,50})",
    ),
    (
        "employer",
        r"(?<![A-Za-z])((?:[A-Z][A-Za-z'’&-]+ ){1,4}(?:Inc|LLC|Ltd|Corp|Corporation|Company|Co|Industries|Enterprises|Logistics|Bank|University|College|Elementary School|High School|Middle School|School District|School|Factory|Mills?|Foods|Manufacturing|Partners|Group|Services|Airlines|Railway|Mining|Steel|Motors|Insurance|Academy|Institute of Technology|Supermarket|Department Store|Hotel|Farms|Brewery|Bakery|Police Department|Fire Department|Electronics|Textiles?|Construction|Works|Shipyard|Freight|Trucking|Library|Museum|Church)\.?)(?![A-Za-z])",
    ),
)
_SIMPLE = [(category, re.compile(pattern)) for category, pattern in _PATTERNS]
_NOT_PLACE = re.compile(
    r"^(?:the )?(?:The|This|That|Home|His|Her|Their|My|Our|I|It|He|She|We|They|Room|Bed|Hospital|Clinic|Emergency|ER|ED|ICU|OR|PACU|CT|MRI|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|January|February|March|April|May|June|July|August|September|October|November|December|Dr|Mr|Mrs|Ms|Doctor|Nurse)(?![A-Za-z])"
)


def find_english(text: str) -> Iterator[Found]:
    """Names and places of an English text, overlaps included."""
    for pattern in (_LABELLED, _LABELLED_LINE, _AGENT, _TITLE, _LONG_TITLE, _DEGREE, _AGED, _VERB):
        for match in pattern.finditer(text):
            start, end = _trim(text, *match.span(1))
            value = text[start:end]
            if pattern is _VERB or pattern is _AGED or pattern is _AGENT:
                if any(_TITLECASE_NOT.match(word) for word in value.split()):
                    continue
            if value.isupper() and len(value) <= 4 and " " not in value:
                continue  # an abbreviation
            if value and not _MEDICAL_TAIL.match(text[end:].lstrip(" '’s")):
                yield Found(start, end, "name", is_full=True)
    for category, pattern in _SIMPLE:
        for match in pattern.finditer(text):
            start, end = match.span(1) if pattern.groups else match.span()
            if not _NOT_PLACE.match(text[start:end]):
                yield Found(start, end, category)


_NAME_STOP = re.compile(
    r"(?:,? |, ?)(?=(?:MD|M\.D|DO|RN|NP|PA|PhD|MBBS|MRN|DOB|Age|Sex|Date|Phone|ID|Room|Address|Dr|Mr|Mrs|Ms|The|He|She|I|We|They|It|Patient|Male|Female|On|In|At|And|But|Tel|Time|Ward|Bed|Signed|Relationship|Attending|Physician|Department|SSN|Email|Gender)(?![a-z]))"
)


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    stop = _NAME_STOP.search(text, start, end)
    return start, stop.start() if stop else end
