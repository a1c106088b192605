import pytest

from pulsar_client import frames, tables
from pulsar_client.errors import BuildError, TableError
from pulsar_client.options import DELIMITERS, get_usual, parse_options


@pytest.fixture
def read(tmp_path):
    """The table that CSV becomes with the kwargs of a build file."""

    def read(data, transform="csv", **kwargs):
        source, target = tmp_path / "in.csv", tmp_path / "out.parquet"
        source.write_bytes(data.encode() if isinstance(data, str) else data)
        target.unlink(missing_ok=True)
        tables.convert(source, parse_options(transform, kwargs, "build.yml: n"), target)
        assert sorted(tmp_path.iterdir()) == [source, target]  # No copy is left.
        return frames.read_table([target])

    return read


@pytest.mark.parametrize(
    ("data", "kwargs", "expected"),
    [
        ("a;b\n1;2\n", {"sep": ";"}, {"a": [1], "b": [2]}),
        ("a\tb\n1\t2\n", {"delimiter": "\\t"}, {"a": [1], "b": [2]}),
        ("1,2\n3,4\n", {"header": None}, {"0": [1, 3], "1": [2, 4]}),
        ("1,2\n3,4\n", {"names": ["x", "y"]}, {"x": [1, 3], "y": [2, 4]}),
        ("a,b\n3,4\n", {"names": ["x", "y"], "header": 0}, {"x": [3], "y": [4]}),
        ("junk\na,b\n3,4\n", {"skiprows": 1}, {"a": [3], "b": [4]}),
        ("junk\na,b\n3,4\n", {"header": 1}, {"a": [3], "b": [4]}),
        ("a,b,c\n1,2,3\n", {"usecols": ["c", "a"]}, {"a": [1], "c": [3]}),
        ("a,b,c\n1,2,3\n", {"usecols": [2, 0]}, {"a": [1], "c": [3]}),
        ("1,2,3\n", {"usecols": [1], "header": None}, {"1": [2]}),
        ("a,b\n01,2\n", {"dtype": {"a": "str", "b": "float64"}}, {"a": ["01"], "b": [2.0]}),
        ("a,b\n01,2\n", {"dtype": "str"}, {"a": ["01"], "b": ["2"]}),
        ("a\n1\nx\n", {"nrows": 1}, {"a": [1]}),
        ("a\n1\n2\n", {"nrows": 0}, {"a": []}),
        ("a,b\n-999,NA\n1,none\n", {"na_values": [-999, "none"]}, {"a": [None, 1], "b": [None, None]}),
        ("a\nNA\n-\n", {"na_values": "-", "keep_default_na": False}, {"a": ["NA", None]}),
        ("a,b\n,NA\n", {"na_filter": False}, {"a": [""], "b": ["NA"]}),
        ("a,b\n'x,y',2\n", {"quotechar": "'"}, {"a": ["x,y"], "b": [2]}),
        ('a\n"x\n', {"quoting": 3}, {"a": ['"x']}),
        ("a,b\nx\\,y,2\n", {"escapechar": "\\"}, {"a": ["x,y"], "b": [2]}),
        ("a\n1\n\n2\n", {"skip_blank_lines": False}, {"a": [1, None, 2]}),
        ("a;b\n1,5;2\n", {"sep": ";", "decimal": ","}, {"a": [1.5], "b": [2]}),
        (
            "a;b;c\n1.234,5;1.234;1.5.2020\n1;2;x\n",
            {"sep": ";", "decimal": ",", "thousands": "."},
            {"a": [1234.5, 1.0], "b": [1234, 2], "c": ["1.5.2020", "x"]},
        ),
        ("a\nyes\nno\n", {"true_values": ["yes"], "false_values": ["no"]}, {"a": [True, False]}),
        ("a\n1\n", {"engine": "c", "low_memory": False, "index_col": False, "comment": None} , None),
        ("a\n1\n", {"engine": "c", "low_memory": False, "index_col": False}, {"a": [1]}),
    ],
)  # fmt: skip
def test_the_words_of_pandas_mean_what_they_mean_there(read, data, kwargs, expected):
    if expected is None:
        with pytest.raises(BuildError, match="'comment' is not understood"):
            read(data, **kwargs)
    else:
        assert read(data, **kwargs).to_pydict() == expected


def test_dates(read):
    data = "d,e\n31.12.2020,2020-01-01\n01.02.2021,2020-01-02\n"

    table = read(data, parse_dates=["d", 1], date_format="%d.%m.%Y")

    assert [str(kind) for kind in table.schema.types] == ["timestamp[us]", "timestamp[us]"]
    assert str(table["d"][1]) == "2021-02-01 00:00:00"
    assert [str(kind) for kind in read(data).schema.types] == ["string", "date32[day]"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252", "utf-8-sig"])
def test_encodings(read, encoding):
    assert read("ä;b\nü;1\n".encode(encoding), "ssv", encoding=encoding).to_pydict() == {"ä": ["ü"], "b": [1]}


@pytest.mark.parametrize(
    ("data", "kwargs", "line", "words"),
    [
        ("a,b\n1,2\n3,x\n", {"dtype": {"b": "int64"}}, 3, "'x' is not of the type int64"),
        ("a,b\n1,2\n3,x\n", {"dtype": {"b": "int64"}, "usecols": ["b"]}, 3, "'x' is not of the type int64"),
        ("j\na,b\n1,2\n3\n", {"skiprows": 1}, 4, "1 fields"),
        ("a\n1\n", {"usecols": ["z"]}, None, "there is no column 'z'"),
        ("a\n1\n", {"dtype": {"z": "str"}}, None, "there is no column 'z'"),
        ("a\n1\n", {"parse_dates": [3]}, None, "there is no column 3"),
        ("j\na,a\n1,2\n", {"skiprows": 1}, 2, "2 columns have this name"),
        (b"a\nx\n\xff\n", {"encoding": "ascii"}, 3, "0xff is not ascii"),
        (b"a\nx\n\xff", {"encoding": "utf-16"}, 1, "is not utf-16|truncated"),
        ("a,b\n1,2\n", {"names": ["x"]}, 1, "2 fields"),
        ("a;b\n1;'x\n", {"sep": ";", "quotechar": "'"}, 2, "never ends"),
    ],
)
def test_what_does_not_fit_is_named_with_its_line(read, data, kwargs, line, words):
    with pytest.raises(TableError, match=words) as caught:
        read(data, **kwargs)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"converters": {}}, "'converters' is not understood; known are"),
        ({"sheet_name": 1}, "'sheet_name' is not understood"),
        ({"sep": ", "}, "sep must be a single character"),
        ({"sep": None, "delimiter": ""}, "delimiter must not be empty"),
        ({"sep": '"'}, "one character cannot be two"),
        ({"decimal": ","}, "one character cannot be two"),
        ({"header": [0, 1]}, "header must be the number"),
        ({"header": "None"}, "header must be the number"),
        ({"names": ["a", "a"]}, "a name twice"),
        ({"names": "a"}, "list of names"),
        ({"usecols": ["a", 1]}, "list of names, or of positions"),
        ({"usecols": "A:C"}, "list of names, or of positions"),
        ({"dtype": {"a": "category"}}, "'category' of 'a' is not understood"),
        ({"skiprows": [1]}, "skiprows must be a number"),
        ({"nrows": -1}, "nrows must be a number"),
        ({"nrows": True}, "nrows must be a number"),
        ({"encoding": "klingon"}, "'klingon' is not known"),
        ({"encoding": "rot13"}, "not an encoding of text"),
        ({"encoding": ["x"]}, "is not known"),
        ({"encoding": "unicode_escape"}, "not an encoding of text"),
        ({"quoting": 1}, "quoting must be 0"),
        ({"on_bad_lines": "skip"}, "can only be 'error'"),
        ({"index_col": 0}, "can only be False"),
        ({"na_values": {"a": [1]}}, "na_values must be a text"),
        ({"parse_dates": {"d": ["a"]}}, "list of columns"),
        ({"doublequote": "yes"}, "true or false"),
        ({"decimal": "é"}, "single character of ASCII"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(kwargs, words):
    with pytest.raises(BuildError, match=f"^build.yml: n: kwargs: .*{words}"):
        parse_options("csv", kwargs, "build.yml: n")


def test_only_what_differs_from_the_usual_is_part_of_a_recipe():
    for transform in DELIMITERS:
        usual = get_usual(transform)
        assert parse_options(transform, {"header": 0, "encoding": "UTF8"}, "").list_differences(usual) == {}
    assert parse_options("csv", {"sep": ";"}, "").list_differences(get_usual("csv")) == {"delimiter": ";"}
