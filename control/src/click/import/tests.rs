use super::*;

const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);

fn row(cells: &[(&str, &str)]) -> ClickRow {
    let of = |column| cells.iter().find(|(name, _)| *name == column).map_or("", |(_, cell)| cell);
    ClickRow { nth: 0, cells: columns().map(|column| of(column).to_owned()).collect() }
}

#[test]
fn time_and_link_are_enough() {
    let short = row(&[("code", "Ab"), ("at", "2025-12-31T23:00:00Z")]);
    let click = check_click(&short, NOW).unwrap();
    assert_eq!((click.at_s, click.n, click.status), (1_767_222_000, 1, 302));
    assert_eq!((click.kind, click.visitor, click.target_revision), (Kind::Human, 0, 1));
    assert_eq!(click.link.code.as_ref().map(Code::as_str), Some("Ab"));
    assert_eq!((click.link.id, click.link.host), (None, None));
}

#[test]
fn every_cell_that_makes_no_sense_is_named() {
    let good = [("link_id", "5"), ("at", "2025-12-31T23:00:00Z")];
    assert!(check_click(&row(&good), NOW).is_ok());
    for (column, cell) in [
        ("link_id", "0"),
        ("link_id", "x"),
        ("code", "a b"),
        ("at", "yesterday"),
        ("at", "1969-12-31T23:59:59Z"),
        ("at", "2026-01-02T00:00:01Z"),
        ("n", "0"),
        ("n", "-1"),
        ("n", "4294967296"),
        ("kind", "Human"),
        ("via", "x"),
        ("status", "70000"),
        ("variant", "1.5"),
        ("target_revision", "a"),
        ("visitor", "+000000000000001"),
        ("visitor", "1"),
        ("do_not_track", "yes"),
        ("channel", "?"),
        ("device", "?"),
    ] {
        let mut cells = vec![(column, cell)];
        cells.extend(good);
        let errors = check_click(&row(&cells), NOW).unwrap_err();
        assert_eq!(errors.len(), 1, "{column} {cell} {errors:?}");
        assert_eq!(errors[0].pointer, format!("#/{column}"), "{cell}");
    }
    let long = "x".repeat(NAME_MAX + 1);
    let mut cells = vec![("city", long.as_str())];
    cells.extend(good);
    assert_eq!(check_click(&row(&cells), NOW).unwrap_err()[0].pointer, "#/city");
    let pointers = |row: &ClickRow| -> Vec<String> {
        check_click(row, NOW).unwrap_err().into_iter().map(|error| error.pointer).collect()
    };
    assert_eq!(pointers(&row(&[])), ["#/link_id", "#/at"]);
    let short = ClickRow { nth: 0, cells: row(&good).cells[..5].to_vec() };
    assert_eq!(pointers(&short), ["#/row"]);
}
