"""The tables of the public sets, by their true headers: label, lesion, patient, age, sex, site.

The headers and the first rows are those of the files that the sets' authors published; where a row
was not at hand, it has the form of one.
"""

from typing import Any

import pytest

from tasks.intake.guide import Guide
from tasks.intake.joining import Joined, join_tables
from tasks.intake.matching import Names
from tasks.lesions import image_id_from
from tasks.terms import archive_says, exact_class

PAD = """\
patient_id,lesion_id,smoke,drink,background_father,background_mother,age,pesticide,gender,\
skin_cancer_history,cancer_history,has_piped_water,has_sewage_system,fitspatrick,region,diameter_1,\
diameter_2,diagnostic,itch,grew,hurt,changed,bleed,elevation,img_id,biopsed
PAT_1516,1765,,,,,8,,,,,,,,ARM,,,NEV,False,False,False,False,False,False,PAT_1516_1765_530.png,False
PAT_771,1491,True,True,ITALY,ITALY,69,False,MALE,False,True,True,True,3.0,FACE,6.0,3.0,BCC,True,UNK,\
False,UNK,False,True,PAT_771_1491_390.png,True
"""
DDI = """\
,DDI_ID,DDI_file,skin_tone,malignant,disease
0,1,000001.png,56,TRUE,melanoma-in-situ
6,7,000007.png,56,TRUE,melanoma-acral-lentiginous
35,36,000036.png,34,FALSE,melanocytic-nevi
58,59,000059.png,56,FALSE,verruca-vulgaris
"""
ISIC_2016 = "ISIC_0000000,benign\nISIC_0011210,malignant\nISIC_0011211,benign\n"
ISIC_2017 = """\
image_id,melanoma,seborrheic_keratosis
ISIC_0000000,0.0,0.0
ISIC_0000002,1.0,0.0
ISIC_0012099,0.0,1.0
"""
ISIC_2017_PEOPLE = """\
image_id,age_approximate,sex
ISIC_0000000,55,female
ISIC_0000002,60,female
ISIC_0012099,unknown,male
"""
ISIC_2018 = """\
image,MEL,NV,BCC,AKIEC,BKL,DF,VASC
ISIC_0024306,0.0,1.0,0.0,0.0,0.0,0.0,0.0
ISIC_0024329,0.0,0.0,0.0,1.0,0.0,0.0,0.0
"""
ISIC_2018_LESIONS = """\
image,lesion_id,diagnosis_confirm_type
ISIC_0024306,HAM_0000550,serial imaging showing no change
ISIC_0024329,HAM_0002954,histopathology
"""
ISIC_2019 = """\
image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK
ISIC_0000000,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0
ISIC_0053453,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0
"""
ISIC_2019_PEOPLE = """\
image,age_approx,anatom_site_general,lesion_id,gender
ISIC_0000000,55,anterior torso,,female
ISIC_0053453,30,anterior torso,BCN_0003884,male
"""
ISIC_2020 = """\
image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target
ISIC_2637011,IP_7279968,male,45.0,head/neck,unknown,benign,0
ISIC_0015719,IP_3075186,female,45.0,upper extremity,melanoma,malignant,1
"""
FITZPATRICK = """\
md5hash,fitzpatrick_scale,fitzpatrick_centaur,label,nine_partition_label,three_partition_label,qc,\
url,url_alphanum
5e82a45bc5d78bd24ae9202d194423f8,3,3,drug induced pigmentary changes,inflammatory,non-neoplastic,,\
https://host.example/minocycline1.jpg,httphostexampleminocycline1jpg.jpg
d2bac3c9e4499032ca8e9b07c7d3bc40,2,3,dermatofibroma,benign dermal,benign,,\
https://host.example/dermatofibroma71.jpg,httphostexampledermatofibroma71jpg.jpg
b09233673fc585369e723ec841ed0acb,5,3,actinic keratosis,malignant epidermal,malignant,,\
https://host.example/keratoses83.jpg,httphostexamplekeratoses83jpg.jpg
4c3f795cf8eb72b946f9bd2642cf23c1,6,5,melanoma,malignant melanoma,malignant,,\
https://host.example/melanoma17.jpg,httphostexamplemelanoma17jpg.jpg
"""
DERM7PT = """\
case_num,diagnosis,seven_point_score,pigment_network,streaks,pigmentation,regression_structures,\
dots_and_globules,blue_whitish_veil,vascular_structures,level_of_diagnostic_difficulty,elevation,\
location,sex,management,clinic,derm,case_id,notes
1,basal cell carcinoma,0,absent,absent,absent,absent,absent,absent,arborizing,medium,nodular,\
abdomen,female,excision,NEL/NEL025.JPG,NEL/Nel026.jpg,,
2,melanoma (in situ),3,atypical,irregular,absent,absent,irregular,absent,absent,high,flat,back,\
male,excision,NEL/NEL027.JPG,NEL/Nel028.jpg,,
"""
BCN = """\
bcn_filename,age_approx,anatom_site_general,diagnosis,lesion_id,capture_date,sex,split
BCN_0000000001.jpg,55.0,anterior torso,MEL,BCN_0003884,2012-05-16,male,train
BCN_0000000003.jpg,50.0,anterior torso,NV,BCN_0000019,2015-07-09,female,train
"""
MILK = """\
lesion_id,image_type,isic_id,attribution,copyright_license,image_manipulation,age_approx,sex,\
skin_tone_class,site,MONET_ulceration_crust,MONET_hair,MONET_vasculature_vessels,MONET_erythema,\
MONET_pigmented,MONET_gel_water_drop_fluid_dermoscopy_liquid,MONET_skin_markings_pen_ink_purple_pen
IL_0000652,clinical: close-up,ISIC_8149219,MILK study team,CC-BY-NC,altered,70,male,1,\
head_neck_face,0.166,0.163,0.002,0.124,0.719,0.220,0.237
IL_0000652,dermoscopic,ISIC_4671410,MILK study team,CC-BY-NC,instrument only,70,male,1,\
head_neck_face,0.659,0.156,0.016,0.032,0.847,0.138,0.148
IL_0003176,dermoscopic,ISIC_5371928,MILK study team,CC-BY-NC,instrument only,45,female,5,\
head_neck_face,0.392,0.897,0.367,0.645,0.122,0.719,0.329
"""
MILK_TRUTH = """\
lesion_id,AKIEC,BCC,BEN_OTH,BKL,DF,INF,MAL_OTH,MEL,NV,SCCKA,VASC
IL_0000652,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0
IL_0003176,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0,0.0,0.0
"""


def read(images: str, *tables: str, guide: Guide | None = None) -> Joined:
    """What tables say, given the delivered images as files with a blank between."""
    ids = [(f"raw/set/{name}", image_id_from(name)) for name in images.split()]
    texts = [(f"raw/metadata/{n}.csv", text.encode()) for n, text in enumerate(tables)]
    return join_tables(texts, Names(ids), guide)


def told(joined: Joined, image_id: str) -> tuple[Any, ...]:
    """Label, lesion, patient, age, sex, site."""
    row = joined.facts[image_id]
    label = exact_class(archive_says(row.get("archive_diagnosis", ())))
    names = ("lesion_id", "patient_id", "age_years", "sex", "site")
    return (label, *(row.get(name) for name in names))


def unread(joined: Joined) -> list[str]:
    """What is not understood in the tables."""
    return [
        *joined.unread.values(),
        *(said for each in joined.tables for said in (*each.problems, *each.codes)),
    ]


CASES: dict[str, tuple[str, tuple[str, ...], dict[str, tuple[Any, ...]], list[str]]] = {
    "PAD-UFES-20": (
        "PAT_1516_1765_530.png PAT_771_1491_390.png",
        (PAD,),
        {
            "PAT_1516_1765_530": ("nevus", "1765", "PAT_1516", 8.0, None, "ARM"),
            "PAT_771_1491_390": ("basal cell carcinoma", "1491", "PAT_771", 69.0, "male", "FACE"),
        },
        [],
    ),
    "DDI": (
        "000001.png 000007.png 000036.png 000059.png",
        (DDI,),
        {
            "000001": ("melanoma", None, None, None, None, None),
            "000007": ("melanoma", None, None, None, None, None),
            "000036": ("nevus", None, None, None, None, None),
            "000059": (None, None, None, None, None, None),
        },
        [],
    ),
    "ISIC 2016": (
        "ISIC_0000000.jpg ISIC_0011210.jpg ISIC_0011211.jpg",
        (ISIC_2016,),
        {"ISIC_0011210": (None, None, None, None, None, None)},
        [],
    ),
    "ISIC 2017": (
        "ISIC_0000000.jpg ISIC_0000002.jpg ISIC_0012099.jpg",
        (ISIC_2017, ISIC_2017_PEOPLE),
        {
            "ISIC_0000000": ("nevus", None, None, 55.0, "female", None),
            "ISIC_0000002": ("melanoma", None, None, 60.0, "female", None),
            "ISIC_0012099": ("seborrheic keratosis", None, None, None, "male", None),
        },
        [],
    ),
    "ISIC 2018": (
        "ISIC_0024306.jpg ISIC_0024329.jpg",
        (ISIC_2018, ISIC_2018_LESIONS),
        {
            "ISIC_0024306": ("nevus", "HAM_0000550", None, None, None, None),
            "ISIC_0024329": (None, "HAM_0002954", None, None, None, None),  # or squamous cell
        },
        [],
    ),
    "ISIC 2019": (
        "ISIC_0000000.jpg ISIC_0053453.jpg",
        (ISIC_2019, ISIC_2019_PEOPLE),
        {
            "ISIC_0000000": ("nevus", None, None, 55.0, "female", "anterior torso"),
            "ISIC_0053453": (
                "squamous cell carcinoma", "BCN_0003884", None, 30.0, "male", "anterior torso",
            ),
        },
        [],
    ),
    "ISIC 2020": (
        "ISIC_2637011.jpg ISIC_0015719.jpg",
        (ISIC_2020,),
        {
            "ISIC_2637011": (None, None, "IP_7279968", 45.0, "male", "head/neck"),
            "ISIC_0015719": ("melanoma", None, "IP_3075186", 45.0, "female", "upper extremity"),
        },
        [],
    ),
    "Fitzpatrick17k": (
        "5e82a45bc5d78bd24ae9202d194423f8.jpg d2bac3c9e4499032ca8e9b07c7d3bc40.jpg "
        "b09233673fc585369e723ec841ed0acb.jpg 4c3f795cf8eb72b946f9bd2642cf23c1.jpg",
        (FITZPATRICK,),
        {
            "d2bac3c9e4499032ca8e9b07c7d3bc40": ("dermatofibroma", *[None] * 5),
            "b09233673fc585369e723ec841ed0acb": ("actinic keratosis", *[None] * 5),
            "4c3f795cf8eb72b946f9bd2642cf23c1": ("melanoma", *[None] * 5),
        },
        ["drug induced pigmentary changes"],
    ),
    "Derm7pt": (
        "NEL/NEL025.JPG NEL/Nel026.jpg NEL/NEL027.JPG NEL/Nel028.jpg",
        (DERM7PT,),
        {
            "NEL025": ("basal cell carcinoma", "1", None, None, "female", "abdomen"),
            "Nel026": ("basal cell carcinoma", "1", None, None, "female", "abdomen"),
            "NEL027": ("melanoma", "2", None, None, "male", "back"),
            "Nel028": ("melanoma", "2", None, None, "male", "back"),
        },
        [],
    ),
    "BCN20000": (
        "BCN_0000000001.jpg BCN_0000000003.jpg",
        (BCN,),
        {
            "BCN_0000000001": ("melanoma", "BCN_0003884", None, 55.0, "male", "anterior torso"),
            "BCN_0000000003": ("nevus", "BCN_0000019", None, 50.0, "female", "anterior torso"),
        },
        [],
    ),
    "MILK10k": (
        "ISIC_8149219.jpg ISIC_4671410.jpg ISIC_5371928.jpg",
        (MILK_TRUTH, MILK),  # what is about lesions comes first, and waits
        {
            "ISIC_8149219": (
                "basal cell carcinoma", "IL_0000652", None, 70.0, "male", "head_neck_face",
            ),
            "ISIC_4671410": (
                "basal cell carcinoma", "IL_0000652", None, 70.0, "male", "head_neck_face",
            ),
            "ISIC_5371928": ("melanoma", "IL_0003176", None, 45.0, "female", "head_neck_face"),
        },
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_tables_of_a_public_set_are_read(name: str) -> None:
    images, tables, expected, not_understood = CASES[name]
    joined = read(images, *tables)
    assert {image_id: told(joined, image_id) for image_id in expected} == expected
    assert unread(joined) == not_understood
    assert not any("contradiction" in row for row in joined.facts.values())


@pytest.mark.parametrize("name", CASES)
def test_what_a_set_holds_is_used_or_counted(name: str) -> None:
    """Every row finds its image, and every code agrees with every other of its row."""
    images, tables, _, _ = CASES[name]
    joined = read(images, *tables)
    assert all(each.matched == each.rows for each in joined.tables)
    for row in joined.facts.values():
        if "archive_diagnosis" in row:
            assert archive_says(row["archive_diagnosis"]) is not None


def test_a_coarse_table_is_no_label_and_rules_classes_out() -> None:
    joined = read(CASES["ISIC 2016"][0], ISIC_2016)
    said = archive_says(joined.facts["ISIC_0011210"]["archive_diagnosis"])
    assert said is not None
    assert "melanoma" in said
    assert "nevus" not in said


def test_a_diagnosis_of_a_patient_is_nobodys_lesion() -> None:
    table = "image_id,patient_id\na,P1\nb,P1\n"
    joined = read("a.jpg b.jpg", table, "patient_id,diagnosis,age\nP1,melanoma,50\n")
    assert "which lesion of a patient" in next(iter(joined.unread.values()))
    joined = read("a.jpg b.jpg", table, "patient_id,age,sex\nP1,50,m\n")
    assert [joined.facts[name]["age_years"] for name in "ab"] == [50.0, 50.0]


def test_a_table_about_lesions_that_no_image_has_is_told() -> None:
    joined = read("ISIC_8149219.jpg", MILK_TRUTH)
    assert joined.tables[0].matched == 0
    assert joined.tables[0].unmatched == ("IL_0000652", "IL_0003176")
