//! What tells programs apart: XXH3-128 of what is computed and under which names, not of labels, source lines, devices and
//! versions. Two exports of one model are equal.

use twox_hash::XxHash3_128;

use super::graph::{Argument, BatchNorm, Constant, Graph, Image, Int, Named, Node, Op, Output};

struct Digest(XxHash3_128);

/// The digest; each part says how long it is, so that no two programs are one text.
pub fn of(
    graph: &Graph,
    tensors: &[Named],
    constants: &[Constant],
    image: &Image,
    outputs: &[String],
) -> u128 {
    let mut digest = Digest(XxHash3_128::new());
    digest.text("swa program 1");
    // Containers keep them in different orders.
    let mut ordered: Vec<&Named> = tensors.iter().collect();
    ordered.sort_by(|a, b| a.name.cmp(&b.name));
    digest.number(ordered.len() as u64);
    for tensor in ordered {
        digest.text(&tensor.name);
        digest.text(&format!("{:?} {:?}", tensor.dtype, tensor.shape));
        digest.slot(tensor.slot);
    }
    digest.number(constants.len() as u64);
    for constant in constants {
        digest.number(constant.slot as u64);
        digest.text(&format!("{:?} {:?}", constant.dtype, constant.shape));
        digest.bytes(&constant.bytes);
    }
    digest.number(image.slot as u64);
    digest.text(&format!("{:?} {:?}", image.dtype, image.shape));
    digest.nodes(&graph.nodes);
    digest.number(graph.outputs.len() as u64);
    graph.outputs.iter().for_each(|output| digest.argument(output));
    outputs.iter().for_each(|name| digest.text(name));
    digest.0.finish_128()
}

impl Digest {
    fn number(&mut self, n: u64) {
        self.0.write(&n.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.write(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn slot(&mut self, slot: Option<usize>) {
        self.number(slot.map_or(u64::MAX, |slot| slot as u64));
    }

    fn nodes(&mut self, nodes: &[Node]) {
        self.number(nodes.len() as u64);
        for node in nodes {
            self.text(&node.op.target());
            if let Op::Autocast { enabled, dtype, nodes } = &node.op {
                self.text(&format!("{enabled} {dtype:?}"));
                self.nodes(nodes);
            }
            match &node.op {
                Op::BatchNorm(norm) => self.batch_norm(norm),
                _ => {
                    self.number(node.inputs.len() as u64);
                    for (name, value) in &node.inputs {
                        self.text(name);
                        self.argument(value);
                    }
                }
            }
            self.number(node.outputs.len() as u64);
            for output in &node.outputs {
                match output {
                    Output::Slot(slot) => self.slot(Some(*slot)),
                    Output::Slots(slots) => {
                        self.number(slots.len() as u64);
                        slots.iter().for_each(|&slot| self.slot(slot));
                    }
                    Output::Unused => self.slot(None),
                }
            }
        }
    }

    /// Of all its forms what counts.
    fn batch_norm(&mut self, norm: &BatchNorm) {
        self.number(norm.input as u64);
        self.slot(norm.weight);
        self.slot(norm.bias);
        let [mean, var] = norm.running.map_or([None; 2], |running| running.map(Some));
        self.slot(mean);
        self.slot(var);
        self.number(norm.eps.to_bits());
        self.number(norm.training as u64);
    }

    fn argument(&mut self, argument: &Argument) {
        let list = |digest: &mut Digest, kind: u64, length: usize| {
            digest.number(kind);
            digest.number(length as u64);
        };
        match argument {
            Argument::None => self.number(0),
            Argument::Slot(slot) => {
                self.number(1);
                self.number(*slot as u64);
            }
            Argument::Slots(slots) => {
                list(self, 2, slots.len());
                slots.iter().for_each(|&slot| self.number(slot as u64));
            }
            Argument::OptionalSlots(slots) => {
                list(self, 3, slots.len());
                slots.iter().for_each(|&slot| self.slot(slot));
            }
            Argument::Bool(b) => {
                self.number(4);
                self.number(*b as u64);
            }
            Argument::Int(n) => {
                self.number(5);
                self.number(*n as u64);
            }
            Argument::Float(x) => {
                self.number(6);
                self.number(x.to_bits());
            }
            Argument::Str(text) => {
                self.number(7);
                self.text(text);
            }
            Argument::Ints(ints) => {
                list(self, 8, ints.len());
                for int in ints {
                    let (kind, n) = match int {
                        Int::Const(n) => (0, *n as u64),
                        Int::Slot(slot) => (1, *slot as u64),
                    };
                    self.number(kind);
                    self.number(n);
                }
            }
            Argument::Floats(floats) => {
                list(self, 9, floats.len());
                floats.iter().for_each(|x| self.number(x.to_bits()));
            }
            Argument::Bools(bools) => {
                list(self, 10, bools.len());
                bools.iter().for_each(|&b| self.number(b as u64));
            }
            Argument::Dtype(n) => {
                self.number(11);
                self.number(*n as u64);
            }
            Argument::Layout(n) => {
                self.number(12);
                self.number(*n as u64);
            }
            Argument::MemoryFormat(n) => {
                self.number(13);
                self.number(*n as u64);
            }
            Argument::Device => self.number(14),
        }
    }
}
