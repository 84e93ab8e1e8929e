//! Writes every definition to `<directory>/<plural>.yaml`; `KEYWEIR_REWRITE=1 cargo test --release --locked --workspace
//! --test manifest` writes those in config/crd and in the chart.

use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let directory = env::args().nth(1).map_or_else(|| PathBuf::from("config/crd"), PathBuf::from);
    fs::create_dir_all(&directory)?;
    for definition in keyweir_crds::all() {
        let path = directory.join(format!("{}.yaml", definition.spec.names.plural));
        let text = keyweir_crds::yaml::write(&definition).map_err(io::Error::other)?;
        fs::write(&path, text)?;
        println!("{}", path.display());
    }
    Ok(())
}
