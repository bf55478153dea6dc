//! Macros of two variables, of optionals and of sorting, as cel-go's extensions expand them: costs
//! are counted on what they come to.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, SourceInfo,
};

/// What every comprehension gathers in.
pub(crate) const RESULT: &str = "@result";
const SORTED: &str = "@sorted";
const OPTION: &str = "@option";

/// A mistake at a byte of the source.
type Mistake = (usize, &'static str);

/// `root` with all macros expanded.
pub(super) fn all(root: IdedExpr, places: &mut SourceInfo) -> Result<IdedExpr, Mistake> {
    let mut expander = Expander { next: u64::from(u32::MAX), place: (0, 0), places };
    expander.expand(root)
}

struct Expander<'a> {
    /// The next free number of an expression.
    next: u64,
    /// Where the call that is expanded stands.
    place: (u32, u32),
    places: &'a mut SourceInfo,
}

impl Expander<'_> {
    fn expand(&mut self, mut expr: IdedExpr) -> Result<IdedExpr, Mistake> {
        expr.expr = match expr.expr {
            Expr::Call(mut call) => {
                call.target = call.target.map(|it| self.expand(*it).map(Box::new)).transpose()?;
                call.args = self.many(call.args)?;
                return self.call(expr.id, call);
            }
            Expr::Comprehension(fold) => Expr::Comprehension(Box::new(self.fold_inside(*fold)?)),
            Expr::List(mut list) => {
                list.elements = self.many(list.elements)?;
                Expr::List(list)
            }
            Expr::Map(mut map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        entry.key = self.expand(std::mem::take(&mut entry.key))?;
                        entry.value = self.expand(std::mem::take(&mut entry.value))?;
                    }
                }
                Expr::Map(map)
            }
            Expr::Struct(mut made) => {
                for entry in &mut made.entries {
                    if let EntryExpr::StructField(field) = &mut entry.expr {
                        field.value = self.expand(std::mem::take(&mut field.value))?;
                    }
                }
                Expr::Struct(made)
            }
            Expr::Select(mut select) => {
                *select.operand = self.expand(std::mem::take(&mut *select.operand))?;
                Expr::Select(select)
            }
            other => other,
        };
        Ok(expr)
    }

    fn many(&mut self, all: Vec<IdedExpr>) -> Result<Vec<IdedExpr>, Mistake> {
        all.into_iter().map(|it| self.expand(it)).collect()
    }

    fn fold_inside(&mut self, mut fold: ComprehensionExpr) -> Result<ComprehensionExpr, Mistake> {
        for part in [
            &mut fold.iter_range,
            &mut fold.accu_init,
            &mut fold.loop_cond,
            &mut fold.loop_step,
            &mut fold.result,
        ] {
            *part = self.expand(std::mem::take(part))?;
        }
        Ok(fold)
    }

    /// `call`, or what it comes to as a macro.
    fn call(&mut self, id: u64, mut call: CallExpr) -> Result<IdedExpr, Mistake> {
        let Some(target) = call.target.take() else {
            return Ok(IdedExpr { id, expr: Expr::Call(call) });
        };
        self.place = self.places.offset_for(id).unwrap_or_default();
        let count = call.args.len();
        let is_pair =
            matches!(call.args.as_slice(), [_, IdedExpr { expr: Expr::Ident(_), .. }, ..]);
        match (call.func_name.as_str(), count) {
            ("all" | "exists" | "existsOne" | "exists_one", 3)
            | ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) => {
                if call.func_name.starts_with('t') && !is_pair {
                    return Err(self.mistake(call.args.get(1)));
                }
                self.pair(*target, &call.func_name, call.args)
            }
            ("optMap" | "optFlatMap", 2) => self.optional(*target, &call.func_name, call.args),
            ("sortBy", 2) => self.sort_by(*target, call.args),
            _ => {
                call.target = Some(target);
                Ok(IdedExpr { id, expr: Expr::Call(call) })
            }
        }
    }

    fn mistake(&self, expr: Option<&IdedExpr>) -> Mistake {
        let place = expr.and_then(|expr| self.places.offset_for(expr.id)).unwrap_or(self.place);
        (place.0 as usize, "argument must be a simple name")
    }

    fn name(&self, expr: Option<IdedExpr>) -> Result<String, Mistake> {
        match expr {
            Some(IdedExpr { expr: Expr::Ident(name), .. }) if !name.starts_with('.') => Ok(name),
            other => Err(self.mistake(other.as_ref())),
        }
    }

    fn pair(
        &mut self,
        range: IdedExpr,
        function: &str,
        args: Vec<IdedExpr>,
    ) -> Result<IdedExpr, Mistake> {
        let mut args = args.into_iter();
        let (key, value) = (self.name(args.next())?, self.name(args.next())?);
        let first = args.next().unwrap_or_default();
        let (filter, body) = match args.next() {
            Some(body) => (Some(first), body),
            None => (None, first),
        };
        let (init, condition, step, result) = match function {
            "all" | "exists" => self.quantifier(function == "all", body),
            "transformList" => {
                let one = self.list(vec![body]);
                let result = self.ident(RESULT);
                let step = self.operator("_+_", vec![result, one]);
                (self.list(Vec::new()), self.truth(true), step, self.ident(RESULT))
            }
            "transformMap" | "transformMapEntry" => {
                let mut inserted = vec![self.ident(RESULT)];
                if function == "transformMap" {
                    inserted.push(self.ident(&key));
                }
                inserted.push(body);
                let step = self.operator("cel.@mapInsert", inserted);
                let empty = self.node(Expr::Map(cel::common::ast::MapExpr::default()));
                (empty, self.truth(true), step, self.ident(RESULT))
            }
            _ => self.exactly_one(body),
        };
        let step = match filter {
            None => step,
            Some(filter) => {
                let otherwise = self.ident(RESULT);
                self.operator("_?_:_", vec![filter, step, otherwise])
            }
        };
        Ok(self.node(Expr::Comprehension(Box::new(ComprehensionExpr {
            iter_range: range,
            iter_var: key,
            iter_var2: Some(value),
            accu_var: RESULT.to_owned(),
            accu_init: init,
            loop_cond: condition,
            loop_step: step,
            result,
        }))))
    }

    fn quantifier(
        &mut self,
        is_all: bool,
        body: IdedExpr,
    ) -> (IdedExpr, IdedExpr, IdedExpr, IdedExpr) {
        let mut so_far = self.ident(RESULT);
        if !is_all {
            so_far = self.operator("!_", vec![so_far]);
        }
        let condition = self.operator("@not_strictly_false", vec![so_far]);
        let result = self.ident(RESULT);
        let step = self.operator(if is_all { "_&&_" } else { "_||_" }, vec![result, body]);
        (self.truth(is_all), condition, step, self.ident(RESULT))
    }

    fn exactly_one(&mut self, body: IdedExpr) -> (IdedExpr, IdedExpr, IdedExpr, IdedExpr) {
        let (result, one) = (self.ident(RESULT), self.number(1));
        let counted = self.operator("_+_", vec![result, one]);
        let otherwise = self.ident(RESULT);
        let step = self.operator("_?_:_", vec![body, counted, otherwise]);
        let (result, one) = (self.ident(RESULT), self.number(1));
        let result = self.operator("_==_", vec![result, one]);
        (self.number(0), self.truth(true), step, result)
    }

    /// `x.optMap(y, e)`: `x.hasValue() ? optional.of(e with y = x.value()) : optional.none()`.
    fn optional(
        &mut self,
        target: IdedExpr,
        function: &str,
        args: Vec<IdedExpr>,
    ) -> Result<IdedExpr, Mistake> {
        if !matches!(target.expr, Expr::Ident(_)) {
            // Named, so that what it stands on is there once, not twice for each in a chain.
            let named = self.ident(OPTION);
            let inner = self.optional(named, function, args)?;
            return Ok(self.bind(OPTION.to_owned(), target, inner));
        }
        let mut args = args.into_iter();
        let name = self.name(args.next())?;
        let body = args.next().unwrap_or_default();
        let has_value = self.method(target.clone(), "hasValue", Vec::new());
        let value = self.method(target, "value", Vec::new());
        let mut there = self.bind(name, value, body);
        if function == "optMap" {
            there = self.operator("optional.of", vec![there]);
        }
        let none = self.operator("optional.none", Vec::new());
        Ok(self.operator("_?_:_", vec![has_value, there, none]))
    }

    /// `l.sortBy(x, key)`: the list sorted by the list of its keys.
    fn sort_by(&mut self, target: IdedExpr, args: Vec<IdedExpr>) -> Result<IdedExpr, Mistake> {
        let mut args = args.into_iter();
        let name = self.name(args.next())?;
        let key = args.next().unwrap_or_default();
        let one = self.list(vec![key]);
        let result = self.ident(RESULT);
        let keys = Expr::Comprehension(Box::new(ComprehensionExpr {
            iter_range: self.ident(SORTED),
            iter_var: name,
            iter_var2: None,
            accu_var: RESULT.to_owned(),
            accu_init: self.list(Vec::new()),
            loop_cond: self.truth(true),
            loop_step: self.operator("_+_", vec![result, one]),
            result: self.ident(RESULT),
        }));
        let keys = self.node(keys);
        let sorted = self.ident(SORTED);
        let sorted = self.method(sorted, "@sortByAssociatedKeys", vec![keys]);
        Ok(self.bind(SORTED.to_owned(), target, sorted))
    }

    /// `body` with `name` for `value`: a comprehension over nothing.
    fn bind(&mut self, name: String, value: IdedExpr, body: IdedExpr) -> IdedExpr {
        let fold = ComprehensionExpr {
            iter_range: self.list(Vec::new()),
            iter_var: "#unused".to_owned(),
            iter_var2: None,
            accu_init: value,
            loop_cond: self.truth(false),
            loop_step: self.ident(&name),
            accu_var: name,
            result: body,
        };
        self.node(Expr::Comprehension(Box::new(fold)))
    }

    fn node(&mut self, expr: Expr) -> IdedExpr {
        self.next += 1;
        self.places.add_offset(self.next, self.place.0, self.place.1);
        IdedExpr { id: self.next, expr }
    }

    fn ident(&mut self, name: &str) -> IdedExpr {
        self.node(Expr::Ident(name.to_owned()))
    }

    fn truth(&mut self, value: bool) -> IdedExpr {
        self.node(Expr::Literal(LiteralValue::Boolean(value.into())))
    }

    fn number(&mut self, value: i64) -> IdedExpr {
        self.node(Expr::Literal(LiteralValue::Int(value.into())))
    }

    fn list(&mut self, elements: Vec<IdedExpr>) -> IdedExpr {
        self.node(Expr::List(ListExpr::new(elements)))
    }

    fn operator(&mut self, function: &str, args: Vec<IdedExpr>) -> IdedExpr {
        let func_name = function.to_owned();
        self.node(Expr::Call(CallExpr { func_name, target: None, args }))
    }

    fn method(&mut self, target: IdedExpr, function: &str, args: Vec<IdedExpr>) -> IdedExpr {
        let (func_name, target) = (function.to_owned(), Some(Box::new(target)));
        self.node(Expr::Call(CallExpr { func_name, target, args }))
    }
}
