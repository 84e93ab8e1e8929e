//! `config/crd` is what the types say; this test rewrites it when asked to.

use std::path::Path;

#[test]
fn the_generated_definitions_are_in_sync() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/crd");
    for definition in keyweir_crds::all() {
        let path = directory.join(format!("{}.yaml", definition.spec.names.plural));
        let wanted = keyweir_crds::yaml::write(&definition).expect("a definition is YAML");
        if std::env::var_os("KEYWEIR_REWRITE").is_some() {
            std::fs::write(&path, &wanted).expect("the file can be written");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "{} is not what crds/src says: run `KEYWEIR_REWRITE=1 cargo test --release -p keyweir-crds`",
            path.display()
        );
        assert!(wanted.len() < 200_000, "a definition above 200 KiB breaks client-side apply");
    }
}
