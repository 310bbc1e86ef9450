"""What the columns of a delivered table hold, by their names.

Sources of the names: the tables of HAM10000, ISIC 2016 to 2024, the ISIC Archive's export,
BCN20000, PAD-UFES-20, DDI, Fitzpatrick17k, Derm7pt and MILK10k.
"""

import re
import unicodedata
from collections.abc import Iterable

# What a column holds <- the names under which tables hold it, the first preferred.
NAMES: dict[str, tuple[str, ...]] = {
    "image_id": (
        *("image_id", "isic_id", "image_name", "image", "img_id", "image_file", "image_filename"),
        *("bcn_filename", "ddi_file", "derm", "md5hash", "filename", "file_name", "file", "img"),
        *(
            "image_path",
            "filepath",
            "file_path",
            "path",
            "img_path",
            "img_name",
            "picture",
            "photo",
        ),
        *("bild", "bild_id", "bildname", "imagen", "imagem", "nom_image", "name", "id", "ddi_id"),
    ),
    "lesion_id": (
        *("lesion_id", "lesion", "lesion_no", "lesion_nr", "lesion_number", "lesion_name"),
        *("id_lesion", "laesion", "laesion_id", "lasion", "lasion_id", "lasion_nr", "lasions_id"),
        *("laesions_id", "lesao", "lesao_id", "lesione", "laesie", "case_num"),
    ),
    "patient_id": (
        *("patient_id", "patient", "patient_no", "patient_nr", "patient_number", "id_patient"),
        *("subject_id", "subject", "person_id", "participant_id", "pid", "mrn"),
        *("patienten_id", "patientennummer", "paciente", "paciente_id", "id_paciente", "pat_id"),
        *("pat_nr", "pat_no", "patienten_nr", "patientnr", "paziente", "paziente_id"),
    ),
    "age_years": (
        *("age", "age_approx", "age_approximate", "age_years", "patient_age", "age_at_diagnosis"),
        *("alter", "edad", "idade"),
    ),
    "sex": ("sex", "gender", "patient_sex", "geschlecht", "sexe", "sexo"),
    "site": (
        *("localization", "localisation", "location", "anatom_site_general", "anatom_site"),
        *("anatom_site_general_challenge", "site", "region", "body_site", "body_part"),
    ),
}
# A column of one diagnosis <- its names, and the archive whose codes it holds.
DIAGNOSES: dict[str, str] = {
    "dx": "HAM10000",
    "diagnosis": "labels",
    "diagnostic": "labels",
    "diagnose": "labels",
    "diagnostico": "labels",
    "diagnosi": "labels",
    "icd": "labels",
    "icd10": "labels",
    "icd_10": "labels",
    "icd_code": "labels",
    "icd10_code": "labels",
    "disease": "labels",
    "label": "labels",
    "class": "labels",
    "category": "labels",
    "iddx_full": "ISIC Archive",
}
LEVELS = tuple(f"{stem}_{n}" for stem in ("diagnosis", "iddx") for n in range(1, 6))
# Columns of a truth value: 1 in a row means the first words, 0 the second; None: nothing.
TRUTHS: dict[str, tuple[str, str | None]] = {
    "target": ("malignant", "benign"),
    "malignant": ("malignant", "benign"),
    "is_malignant": ("malignant", "benign"),
    "benign": ("benign", "malignant"),
}
# Columns of tables with one column per diagnosis; MILK10k has the last five.
ONE_HOT = (
    *("mel", "nv", "bcc", "ak", "akiec", "bkl", "df", "vasc", "scc", "unk"),
    *("melanoma", "nevus", "seborrheic_keratosis", "basal_cell_carcinoma", "actinic_keratosis"),
    *("squamous_cell_carcinoma", "dermatofibroma", "vascular_lesion"),
    *("pigmented_benign_keratosis", "sccka", "ben_oth", "mal_oth", "inf", "nmsc"),
)
COARSE = (
    "dignitat",
    "dignity",
    "benign_malignant",
    "three_partition_label",
    "nine_partition_label",
    "malignancy",
)
# Columns that name persons or places, as tables made of DICOMs have them. They are not kept.
PERSONAL = {
    *("patient_name", "patients_name", "first_name", "last_name", "surname", "given_name"),
    *("family_name", "vorname", "nachname", "prenom", "apellido", "patient_birth_name"),
    *("birth_date", "birthdate", "patient_birth_date", "date_of_birth", "dob", "geburtsdatum"),
    *("other_patient_ids", "issuer_of_patient_id", "accession_number", "study_id"),
    *("institution_name", "institution_address", "referring_physician_name", "operators_name"),
    *("performing_physician_name", "patient_address", "address", "patient_telephone_numbers"),
    *("phone", "telephone", "email", "patient_comments", "station_name", "device_serial_number"),
    *("name", "full_name", "patientenname", "patient_names", "person_name", "name_of_patient"),
    *("familienname", "geburtsname", "rufname", "firstname", "lastname", "forename", "initials"),
    *("nom", "nom_patient", "nom_du_patient", "nom_de_famille", "nom_de_naissance", "prenoms"),
    *("nombre", "nombre_paciente", "nombre_del_paciente", "nombres", "apellidos", "nome"),
    *("nome_paciente", "nome_do_paciente", "nome_paziente", "nome_del_paziente", "sobrenome"),
    *("apelido", "cognome", "naam", "achternaam", "voornaam", "patientnaam"),
    *("born", "birthday", "birth", "geboren", "geboren_am", "geburtstag", "geb_datum", "gebdat"),
    *("geb", "gebdatum", "date_de_naissance", "naissance", "ne_le", "nee_le", "ddn"),
    *("fecha_de_nacimiento", "fecha_nacimiento", "nacimiento", "data_de_nascimento"),
    *("data_nascimento", "nascimento", "data_di_nascita", "data_nascita", "nascita"),
    *("geboortedatum", "accession", "accession_no", "accession_nr", "hospital_no", "hospital_nr"),
    *("hospital_number", "hospital_id", "clinic_number", "kliniknummer", "fallnummer", "ssn"),
    *("nhs_number", "insurance_number", "versicherungsnummer", "svnr"),
    *("numero_de_dossier", "numero_dossier", "ipp", "numero_historia", "historia_clinica"),
    *("prontuario", "cartella_clinica", "codice_fiscale", "street", "strasse", "adresse"),
    *("telefon", "telephone_number", "phone_number", "mail", "e_mail"),
}
# Names that speak of a lesion or a person and are known to name neither.
HARMLESS = re.compile(
    r".*(age|sex|gender|type|size|diameter|count|history|cancer|location|site|class|group|partition"
    r"|confirm|color|colour|area|tone|skin|eligible|score|prob|stage|grade|uuid_hash|days).*"
)
NAMING = re.compile(
    r".*(lesion|l(ae|a)si(on|e)|lesao|patient|mole_?id|(^|_)mole$|naevus_|nevus_(id|n[or])|pa[cz]ient|subject|person|participant|(^|_)case|mrn"
    r"|(^|_)fall_?(nr|id|nummer)|(^|_)pat_).*"
)


def plain(name: str) -> str:
    """The name of a column, without case, accents, signs and camels.

    >>> plain("lesionId"), plain("Image ID"), plain("PatientID"), plain("Läsion-Nr.")
    ('lesion_id', 'image_id', 'patient_id', 'lasion_nr')
    """
    text = unicodedata.normalize("NFKD", str(name).strip())
    text = "".join(sign for sign in text if not unicodedata.combining(sign))
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    return re.sub(r"[^a-z0-9]+", "_", text.casefold()).strip("_")


def held_by(names: Iterable[str]) -> dict[str, str]:
    """The column, by its own name, that holds each part of the manifest, where one does."""
    own = {plain(name): name for name in reversed(list(names))}
    own = {name.replace("_", ""): of for name, of in own.items()} | own
    found: dict[str, str] = {}
    for what, spellings in NAMES.items():
        for spelling in spellings:
            column = own.get(spelling) or own.get(spelling.replace("_", ""))
            if column is not None and column not in found.values():
                found[what] = column
                break
    return found


def is_header(cells: list[str]) -> bool:
    """Whether cells are the header of a table about images."""
    names = [plain(cell) for cell in cells if cell]
    found = held_by(names)
    known = set(found) | (set(names) & (set(DIAGNOSES) | set(LEVELS) | set(TRUTHS) | set(COARSE)))
    known |= set(codes_in(cells))
    return ("image_id" in found and len(known) >= 2) or len(known) >= 3


def codes_in(names: Iterable[str]) -> list[str]:
    """The columns of a table with one column per diagnosis, if there are at least two."""
    found = [name for name in names if plain(name) in ONE_HOT]
    return found if len(found) >= 2 else []


def personal_in(names: Iterable[str]) -> list[str]:
    """The columns that name persons or places."""
    glued = {each.replace("_", "") for each in PERSONAL}
    return [name for name in names if plain(name).replace("_", "") in glued]


def may_name(names: Iterable[str], taken: Iterable[str]) -> list[str]:
    """Columns that may name lesions or patients, and were taken for nothing."""
    used = set(taken)
    return [
        name
        for name in names
        if name not in used
        and NAMING.fullmatch(plain(name))
        and not HARMLESS.fullmatch(plain(name))
    ]
