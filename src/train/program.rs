//! The graphs of a run: a training step, an evaluation and a prediction of the same model, and the product of a curvature of
//! its loss with a vector.

use crate::Result;
use crate::data::{Encoding, Schema, Task};
use crate::gpu::Profile;
use crate::graph::{Dim, Element, Graph, Shape, TensorType, Var};
use crate::nn::{Loss, Mode, ModelSpec};
use crate::optim::{Grouping, HyperValue, Modifiers, Optimizer};
use crate::plan::{Blueprint, Destination, Gradients, Precision, Program};
use crate::solve::Curvature;

/// Names of input slots.
pub(super) const FEATURES: &str = "features";
pub(super) const TARGETS: &str = "targets";
pub(super) const INDICES: &str = "indices";

/// The names under which the features and targets of a resident data set lie.
pub(super) fn resident_names(part: &str) -> [String; 2] {
    [FEATURES, TARGETS].map(|what| format!("{part} {what}"))
}

/// Where the rows of a minibatch come from.
#[derive(Clone, Debug)]
pub(super) enum Feed {
    /// Slots that are uploaded every step.
    Streamed,
    /// All `rows` of the data set `part`, picked by uploaded indices.
    Resident { part: &'static str, rows: usize },
}

/// What all three graphs are made from.
pub(super) struct Recipe<'a> {
    pub model: &'a ModelSpec,
    pub schema: &'a Schema,
    pub loss: Loss,
    /// What updates the parameters, which decides how they lie; nothing does in a model at work.
    pub update: Option<(&'a Optimizer, &'a Modifiers)>,
    /// Whether the L2 penalties of the optimizer's groups are a part of the loss, as a method needs it; otherwise the update
    /// adds their gradients.
    pub penalised: bool,
    /// How kernels leave activations to one another.
    pub precision: Precision,
}

/// The loss of a batch in a graph.
struct Objective {
    /// The model's outputs, of which the loss is a function.
    outputs: Var,
    loss: Var,
    /// Mean over the rows, so that parts of a batch add up to it once.
    penalty: Option<Var>,
}

/// The input of the part of a direction that belongs to a parameter.
pub(super) fn direction(parameter: usize) -> String {
    format!("direction of parameter {parameter}")
}

impl<'a> Recipe<'a> {
    /// A trained model at work.
    pub fn at_work(model: &'a ModelSpec, schema: &'a Schema, loss: Loss) -> Self {
        Recipe { model, schema, loss, update: None, penalised: false, precision: Precision::F32 }
    }

    /// Loss (result 0) and the gradient of every parameter, times the step's loss scale where there is one.
    pub fn training(&self, feed: &Feed) -> Result<Program> {
        let mut graph = Graph::new();
        let Objective { loss, penalty, .. } = self.objective(&mut graph, feed)?;
        let loss = penalty.map_or(Ok(loss), |penalty| graph.add(loss, penalty))?;
        let parameters = graph.parameter_vars().to_vec();
        let is_scaled = self.update.is_some_and(|(_, modifiers)| modifiers.loss_scale.is_some());
        let seed = if is_scaled { graph.loss_scale()? } else { graph.constant(1.0)? };
        let learnt = self.learnt(&graph);
        let wanted: Vec<Var> = learnt.iter().map(|number| parameters[*number]).collect();
        let gradients = graph.vjp(&[(loss, seed)], &wanted)?;
        let gradients = learnt.into_iter().zip(gradients).map(|(i, var)| (var, Destination::Gradient(i)));
        let outputs = [(loss, Destination::Result(0))].into_iter().chain(gradients).collect();
        Ok(Program { graph, outputs })
    }

    /// The product of a curvature of the training loss with the direction in the inputs, where the gradient of a training step
    /// goes.
    pub fn product(&self, feed: &Feed, curvature: Curvature) -> Result<Program> {
        let mut graph = Graph::new();
        let Objective { outputs, loss, penalty } = self.objective(&mut graph, feed)?;
        let learnt = self.learnt(&graph);
        let parameters: Vec<Var> = learnt.iter().map(|number| graph.parameter_vars()[*number]).collect();
        let mut tangents = Vec::with_capacity(parameters.len());
        for (&number, &parameter) in learnt.iter().zip(&parameters) {
            let shape = graph.shape(parameter).clone();
            tangents.push((parameter, graph.input(&direction(number), shape)?));
        }
        let mut products = match curvature {
            Curvature::Hessian => {
                let gradients = graph.gradient(loss, &parameters)?;
                graph.jvp(&gradients, &tangents)?
            }
            // Jᵀ·H·J with the Jacobian J of the outputs and the loss' own Hessian H (Schraudolph 2002).
            Curvature::GaussNewton => {
                let moved = graph.jvp(&[outputs], &tangents)?[0];
                let slope = graph.gradient(loss, &[outputs])?[0];
                let bent = graph.jvp(&[slope], &[(outputs, moved)])?[0];
                graph.vjp(&[(outputs, bent)], &parameters)?
            }
        };
        if let Some(penalty) = penalty {
            let gradients = graph.gradient(penalty, &parameters)?;
            for (product, own) in products.iter_mut().zip(graph.jvp(&gradients, &tangents)?) {
                *product = graph.add(*product, own)?;
            }
        }
        let products = learnt.into_iter().zip(products);
        let outputs = products.map(|(number, var)| (var, Destination::Gradient(number))).collect();
        Ok(Program { graph, outputs })
    }

    /// The loss of a training step alone.
    pub fn trial(training: &Program) -> Program {
        let loss = training.outputs.iter().filter(|(_, place)| *place == Destination::Result(0));
        Program { graph: training.graph.clone(), outputs: loss.copied().collect() }
    }

    /// Loss (result 0) and, for classes, the number of rows that are right (result 1).
    pub fn evaluation(&self, feed: &Feed) -> Result<Program> {
        let mut graph = Graph::new();
        let (outputs, targets) = self.outputs(&mut graph, feed, Mode::Evaluate)?;
        let targets = self.targets(&mut graph, targets)?;
        let loss = self.loss.build(&mut graph, outputs, targets)?;
        self.group(&mut graph)?;
        let mut results = vec![(loss, Destination::Result(0))];
        if self.loss == Loss::CrossEntropy {
            let guesses = graph.argmax(outputs)?;
            let [guesses, labels] = [guesses, targets].map(|var| graph.to_f32(var));
            let right = graph.equal(guesses?, labels?)?;
            results.push((graph.sum(right, &[0])?, Destination::Result(1)));
        }
        Ok(Program { graph, outputs: results })
    }

    /// The outputs [batch, n] (result 0): probabilities for classes.
    pub fn prediction(&self) -> Result<Program> {
        let mut graph = Graph::new();
        let features = graph.input_of(FEATURES, self.features_type(Dim::BATCH))?;
        let mut outputs = self.model_outputs(&mut graph, features, Mode::Evaluate)?;
        if self.loss == Loss::CrossEntropy {
            outputs = graph.softmax(outputs)?;
        }
        Ok(Program { graph, outputs: vec![(outputs, Destination::Result(0))] })
    }

    /// `program` cut into kernels for an adapter of `profile`.
    pub fn cut(&self, program: &Program, profile: &Profile) -> Result<Blueprint> {
        Blueprint::new(program, profile, Gradients::Overwrite, self.precision)
    }

    fn objective(&self, graph: &mut Graph, feed: &Feed) -> Result<Objective> {
        let (outputs, targets) = self.outputs(graph, feed, Mode::Train)?;
        let targets = self.targets(graph, targets)?;
        let loss = self.loss.build(graph, outputs, targets)?;
        self.group(graph)?;
        let penalty = if self.penalised { self.penalty(graph)? } else { None };
        Ok(Objective { outputs, loss, penalty })
    }

    /// Σ λ‖θ‖²/2 over the groups, with the weight decay λ of each.
    fn penalty(&self, graph: &mut Graph) -> Result<Option<Var>> {
        let Some((optimizer, modifiers)) = self.update else { return Ok(None) };
        let grouping = Grouping::new(optimizer, modifiers, graph.parameters())?;
        let mut sum = None;
        for (var, group) in graph.parameter_vars().to_vec().into_iter().zip(grouping.of) {
            let decay = match grouping.optimizers[group].value("weight_decay") {
                Some(HyperValue::Number(decay)) if *decay > 0.0 => *decay,
                _ => continue,
            };
            let axes: Vec<usize> = (0..graph.shape(var).rank()).collect();
            let square = graph.mul(var, var)?;
            let square = graph.sum(square, &axes)?;
            let own = graph.scale(square, decay / 2.0)?;
            sum = Some(sum.map_or(Ok(own), |sum| graph.add(sum, own))?);
        }
        let Some(sum) = sum else { return Ok(None) };
        let of_rows = graph.broadcast_to(sum, [Dim::BATCH])?;
        graph.mean(of_rows, &[0]).map(Some)
    }

    /// The numbers of the parameters that are not frozen.
    fn learnt(&self, graph: &Graph) -> Vec<usize> {
        let is_frozen = |name: &str| self.update.is_some_and(|(_, modifiers)| modifiers.freezes(name));
        let parameters = graph.parameters().iter().enumerate();
        parameters.filter(|(_, info)| !is_frozen(&info.name)).map(|(number, _)| number).collect()
    }

    /// Puts the parameters in the optimizer's groups.
    fn group(&self, graph: &mut Graph) -> Result<()> {
        if let Some((optimizer, modifiers)) = self.update {
            let grouping = Grouping::new(optimizer, modifiers, graph.parameters())?;
            graph.set_groups(&grouping.of);
        }
        Ok(())
    }

    fn outputs(&self, graph: &mut Graph, feed: &Feed, mode: Mode) -> Result<(Var, Var)> {
        let (features, targets) = match feed {
            Feed::Streamed => (
                graph.input_of(FEATURES, self.features_type(Dim::BATCH))?,
                graph.input_of(TARGETS, self.targets_type(Dim::BATCH))?,
            ),
            Feed::Resident { part, rows } => {
                let [features, targets] = resident_names(part);
                let features = graph.input_of(&features, self.features_type(Dim::Fixed(*rows)))?;
                let targets = graph.input_of(&targets, self.targets_type(Dim::Fixed(*rows)))?;
                let indices = TensorType { shape: Shape::from([Dim::BATCH]), element: Element::U32 };
                let indices = graph.input_of(INDICES, indices)?;
                (graph.gather(features, indices)?, graph.gather(targets, indices)?)
            }
        };
        Ok((self.model_outputs(graph, features, mode)?, targets))
    }

    fn model_outputs(&self, graph: &mut Graph, features: Var, mode: Mode) -> Result<Var> {
        let mut x = features;
        if let Encoding::U8 { scale } = self.schema.encoding {
            x = graph.to_f32(x)?;
            x = graph.scale(x, f64::from(scale))?;
        }
        self.model.build(graph, x, self.schema.task.outputs(), mode)
    }

    /// Targets as the loss takes them: labels as they are, values [batch, width].
    fn targets(&self, graph: &mut Graph, targets: Var) -> Result<Var> {
        match self.schema.task {
            Task::Classes { .. } => Ok(targets),
            Task::Values { width } => graph.reshape(targets, [Dim::BATCH, Dim::Fixed(width)]),
        }
    }

    fn features_type(&self, rows: Dim) -> TensorType {
        let element = match self.schema.encoding {
            Encoding::U8 { .. } => Element::U8,
            Encoding::F32 => Element::F32,
        };
        TensorType { shape: Shape(vec![rows, Dim::Fixed(self.schema.features())]), element }
    }

    fn targets_type(&self, rows: Dim) -> TensorType {
        match self.schema.task {
            Task::Classes { .. } => TensorType { shape: Shape(vec![rows]), element: Element::U32 },
            Task::Values { width } => TensorType::f32(Shape(vec![rows, Dim::Fixed(width)])),
        }
    }
}
