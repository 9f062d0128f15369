use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Data, Labels, Template};

fn document() -> Value {
    json!({
        "ID": "abc",
        "Name": "/web",
        "State": {"Running": true, "Pid": 42, "ExitCode": 0, "Health": null},
        "Config": {
            "Env": ["A=1", "B=2"],
            "Labels": {"b": "two", "a": "one"},
            "Entrypoint": null,
        },
        "Mounts": [
            {"Source": "/a", "Destination": "/x", "RW": true},
            {"Source": "/b", "Destination": "/y", "RW": false},
        ],
        "Ports": {"80/tcp": [{"HostPort": "8080"}], "81/tcp": null},
        "Half": 0.5,
    })
}

fn print(text: &str) -> Result<String, String> {
    let labels = Labels::Of(serde_json::Map::from_iter([(
        "com.x".to_owned(),
        json!("y"),
    )]));
    let data = Data {
        root: document(),
        labels,
    };
    Template::parse(text)
        .and_then(|template| template.print(&data))
        .map_err(|error| format!("{}: {}", error.at, error.message))
}

/// Templates, and what Go prints of them over the same values.
const PRINTED: &[(&str, &str)] = &[
    ("plain", "plain"),
    ("{{.ID}} {{.Name}}", "abc /web"),
    ("{{ .State.Running }}/{{.State.Pid}}", "true/42"),
    ("{{.Half}}", "0.5"),
    ("{{.Config.Env}}", "[A=1 B=2]"),
    ("{{.Config.Labels}}", "map[a:one b:two]"),
    ("{{.Config.Entrypoint}}", "<nil>"),
    (
        "{{.State.Nothing}}{{.State.Nothing.More}}",
        "<no value><no value>",
    ),
    (
        "{{json .State}}",
        r#"{"Running":true,"Pid":42,"ExitCode":0,"Health":null}"#,
    ),
    ("{{.Config.Env | json}}", r#"["A=1","B=2"]"#),
    ("{{join .Config.Env \",\"}}", "A=1,B=2"),
    ("{{index .Config.Labels \"a\"}}", "one"),
    ("[{{index .Config.Labels \"none\"}}]", "[]"),
    ("{{.Config.Labels.a}}", "one"),
    ("{{index .Config.Env 1}}", "B=2"),
    ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
    (
        "{{with index .Ports \"80/tcp\"}}{{(index . 0).HostPort}}{{end}}",
        "8080",
    ),
    (
        "{{range .Mounts}}{{.Source}}:{{.Destination}} {{end}}",
        "/a:/x /b:/y ",
    ),
    (
        "{{range $i, $m := .Mounts}}{{$i}}={{$m.Source}};{{end}}",
        "0=/a;1=/b;",
    ),
    (
        "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}",
        "a=one b=two ",
    ),
    (
        "{{range $p, $c := .Ports}}{{$p}}{{if $c}} -> {{(index $c 0).HostPort}}{{end}};{{end}}",
        "80/tcp -> 8080;81/tcp;",
    ),
    ("{{range .Config.Entrypoint}}x{{else}}none{{end}}", "none"),
    (
        "{{range .Mounts}}{{if .RW}}{{continue}}{{end}}{{.Source}}{{break}}{{end}}",
        "/b",
    ),
    ("{{range 3}}{{.}}{{end}}", "012"),
    ("{{range .Mounts}}{{$.ID}}{{end}}", "abcabc"),
    ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
    (
        "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}",
        "none",
    ),
    (
        "{{if eq .ID \"x\"}}1{{else if eq .ID \"abc\"}}2{{else}}3{{end}}",
        "2",
    ),
    (
        "{{with .State.Health}}{{.}}{{else with .State}}{{.Pid}}{{end}}",
        "42",
    ),
    (
        "{{eq .State.ExitCode 0}} {{ne .ID \"abc\"}} {{eq .ID \"x\" \"abc\"}}",
        "true false true",
    ),
    (
        "{{lt 1 2}} {{le 2 2}} {{gt \"b\" \"a\"}} {{ge 1 2}}",
        "true true true false",
    ),
    (
        "{{and .State.Running .State.Pid}} {{or .State.ExitCode \"x\"}} {{not .State.Health}}",
        "42 x true",
    ),
    ("{{and false (index .Config.Env 9)}}", "false"),
    (
        "{{len .Mounts}} {{len .ID}} {{len .Config.Labels}}",
        "2 3 2",
    ),
    (
        "{{upper .ID}} {{lower \"ABC\"}} {{title \"a bc\"}}",
        "ABC abc A Bc",
    ),
    (
        "{{split \"a,b\" \",\"}} {{truncate .ID 2}} [{{pad .ID 1 2}}]",
        "[a b] ab [ abc  ]",
    ),
    (
        "{{printf \"%s is %d%% %v %q\" .ID 5 true .Name}}",
        "abc is 5% true \"/web\"",
    ),
    (
        "{{printf \"[%-5s|%5s|%05d|%.2s|%.1f|%x]\" .ID .ID 42 .ID .Half 255}}",
        "[abc  |  abc|00042|ab|0.5|ff]",
    ),
    ("{{.ID | printf \"%s-%s\" \"x\"}}", "x-abc"),
    (
        "{{println .ID 1}}{{print 1 2 \"a\" \"b\" 3}}",
        "abc 1\n1 2ab3",
    ),
    (
        "{{$x := .ID}}{{$y := \"q\"}}{{$x}}{{$y = $x}}{{$y}}",
        "abcabc",
    ),
    ("{{if $r := .State.Running}}{{$r}}{{end}}", "true"),
    (
        "a {{- .ID -}} b {{/* said */}}c {{- /* more */ -}} d",
        "aabcb cd",
    ),
    ("{{`raw \\n`}}{{\"\\t\\x41\\u00e9\"}}", "raw \\n\tAé"),
    ("{{.Label \"com.x\"}}[{{.Label \"none\"}}]", "y[]"),
    ("{{-1}} {{1.5}} {{0x10}} {{'a'}}", "-1 1.5 16 97"),
];

#[test]
fn templates_print_what_go_prints() {
    for (template, wanted) in PRINTED {
        assert_eq!(print(template).as_deref(), Ok(*wanted), "{template}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (template, wanted) in [
        ("{{.ID", "0: `{{` has no `}}`"),
        ("{{}}", "0: there is nothing between"),
        ("{{.Nope}}", "2: there is no field `.Nope`"),
        ("ab{{nope .ID}}", "4: there is no function `nope`"),
        ("{{.ID.More}}", "2: a text has no fields"),
        ("{{$x}}", "2: there is no variable `$x`"),
        ("{{$x = 1}}", "2: there is no variable `$x`"),
        ("{{.ID 1}}", "2: `.ID` takes no arguments"),
        ("{{if .ID}}x", "0: this block has no `{{end}}`"),
        ("{{end}}", "0: `end` ends nothing"),
        ("{{else}}", "0: `else` ends nothing"),
        (
            "{{if .ID}}{{else}}{{else}}{{end}}",
            "18: there was an `else` already",
        ),
        (
            "{{range .ID}}{{end}}",
            "8: `range` cannot go through a text",
        ),
        ("{{break}}", "0: `break` is outside of `range`"),
        ("{{index .Config.Env 9}}", "2: there is no element 9"),
        ("{{(.ID}}", "2: there is no `)`"),
        ("{{.ID)}}", "5: there is no `(`"),
        ("{{.ID | }}", "6: nothing stands behind `|`"),
        ("{{\"x}}", "2: a quoted text has no end"),
        ("{{/* x }}", "2: a comment has no end"),
        ("{{template \"x\"}}", "0: `template` is not supported"),
        ("{{join .ID \",\"}}", "2: `join` needs a list"),
        ("{{len}}", "2: `len` does not take 0 arguments"),
        (
            "{{printf \"%d\" .ID}}",
            "2: `%d` of `printf` cannot show a text",
        ),
        ("{{printf \"%s\"}}", "2: `printf` has no value"),
        ("{{printf \"%99999s\" .ID}}", "2: a width of"),
        ("{{1x}}", "2: `1x` is no number"),
        ("{{.ID ? 1}}", "6: `?` has no meaning here"),
        ("{{lt .ID 1}}", "2: a text and a number have no order"),
    ] {
        let error = print(template).unwrap_err();
        assert!(error.starts_with(wanted), "{template}: {error}");
    }
}

#[test]
fn what_would_not_end_ends() {
    let doubling = "{{$x := \"aaaaaaaa\"}}{{range 60}}{{$x = print $x $x}}{{end}}";
    assert!(print(doubling).unwrap_err().contains("longer than"));
    let loops = "{{range 99999}}{{range 99999}}{{range 99999}}{{end}}{{end}}{{end}}";
    assert!(print(loops).unwrap_err().contains("too many steps"));
    let large = "{{range 100000}}{{printf \"%9999s\" .}}{{end}}";
    assert!(print(large).unwrap_err().contains("output is too large"));
    let deep = format!("{}{}", "{{if 1}}".repeat(100), "{{end}}".repeat(100));
    assert!(print(&deep).unwrap_err().contains("deep"));
    let deep = format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(print(&deep).unwrap_err().contains("deep"));
    let long = "x".repeat(70_000);
    assert!(print(&long).unwrap_err().contains("longer"));
}

/// Pieces that templates are made of, and what breaks them.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "{{",
        "}}",
        "{{-",
        "-}}",
        " - ",
        ".",
        ".ID",
        ".State",
        ".Config.Env",
        "$",
        "$x",
        "$x :=",
        "=",
        "|",
        "(",
        ")",
        ",",
        "\"a\"",
        "`b`",
        "'c'",
        "\\",
        "1",
        "-2",
        "0.5",
        "0x",
        "if ",
        "else ",
        "end",
        "range ",
        "with ",
        "break",
        "index ",
        "json ",
        "len ",
        "print ",
        "printf \"%5.2v\" ",
        "and ",
        "or ",
        "not ",
        "eq ",
        "split ",
        "/*",
        "*/",
        "é",
        "{{end}}",
        "{{range .Mounts}}",
        "{{if .ID}}",
        "nil",
        "true",
        "\n",
        "\t",
    ];
    prop_oneof![
        6 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever is written: output or an error whose place lies in the template.
    #[test]
    fn nothing_panics(pieces in proptest::collection::vec(piece(), 0..30)) {
        let text = pieces.concat();
        if let Err(error) = Template::parse(&text).and_then(|template| template.print(&document().into())) {
            prop_assert!(error.at <= text.len());
        }
    }

    /// Text without braces comes out as it is.
    #[test]
    fn text_is_itself(text in "[^{]*") {
        prop_assert_eq!(Template::parse(&text).unwrap().print(&document().into()).unwrap(), text);
    }

    /// A text survives quoting.
    #[test]
    fn quoted_texts_are_themselves(text in "[^`]*") {
        let template = format!("{{{{`{text}`}}}}");
        prop_assert_eq!(Template::parse(&template).unwrap().print(&document().into()).unwrap(), text);
    }
}
