//! An adapter made part of its model.

use crate::checkpoint::{Checkpoint, Tensor};
use crate::train::engine::Tensors;
use crate::train::warm_start::tensors;
use siskin::format::{File, MetadataBuilder, SectionKind};
use siskin::model::{Adapter, Model, Reach, projections};
use siskin::pipeline::Generation;
use siskin::{Error, ErrorKind, Result};
use std::sync::Arc;

/// `model` and what `adapter` learned over it, in full precision: W + B A for each matrix W with a low-rank term, and the
/// adapter's tensors in the place of the model's. Golden sentences and shortlist are not part of it.
///
/// # Errors
/// Those of [`Model::with_adapter`]; [`ErrorKind::InvalidOption`] for an adapter that is not used for every source.
pub fn merged(model: &Model, adapter: &Arc<Adapter>) -> Result<Checkpoint> {
    model.with_adapter(Arc::clone(adapter))?;
    if adapter.reach() != Reach::Everywhere {
        let message = "the adapter is used for terms only; as part of the model it would change every source: keep the adapter";
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    let file = File::parse(model.bytes())?;
    let learned = tensors(adapter.bytes())?;
    let mut merged = tensors(model.bytes())?;
    for (name, tensor) in &mut merged {
        match learned.get(name) {
            Some(replaced) => tensor.clone_from(replaced),
            None => add_terms(name, tensor, &learned),
        }
    }
    let section = |kind| file.section(kind).map(<[u8]>::to_vec);
    Ok(Checkpoint {
        spec: model.spec().clone(),
        generation: Generation::read(&file.metadata(SectionKind::Generation))?,
        card: MetadataBuilder::copy_of(&file.metadata(SectionKind::Card)),
        source_vocabulary: section(SectionKind::SourceVocabulary),
        target_vocabulary: section(SectionKind::TargetVocabulary),
        tensors: merged,
    })
}

/// Adds the low-rank terms of `learned` beside the projections in the matrix `name`.
fn add_terms(name: &str, matrix: &mut Tensor, learned: &Tensors) {
    let (Some(place), &[height, width]) = (name.strip_suffix(".weight"), &matrix.dims[..]) else { return };
    for (projection, rows) in projections(place, height) {
        let factor = |which| learned.get(&format!("{projection}.{which}"));
        let (Some(a), Some(b)) = (factor("lora_a"), factor("lora_b")) else { continue };
        let rows = matrix.values[rows.start * width..rows.end * width].chunks_exact_mut(width);
        for (row, b) in rows.zip(b.values.chunks_exact(a.dims[0])) {
            for (b, a) in b.iter().zip(a.values.chunks_exact(width)) {
                row.iter_mut().zip(a).for_each(|(w, a)| *w += b * a);
            }
        }
    }
}
