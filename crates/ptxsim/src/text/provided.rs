//! Functions that kernels call and no text defines: the device's own. Written in PTX around an instruction `system`, which only stands
//! here.

use crate::text::ast::{Ast, Stmt};
use crate::text::parse::{Parser, Result};
use crate::text::ty::Operand;

const TEXT: &str = "
.version 8.1
.target sm_80
.address_size 64
.func (.param .b32 count) vprintf(.param .b64 format, .param .b64 arguments) {
    .reg .b64 %d<3>;
    .reg .b32 %n;
    ld.param.b64 %d0, [format];
    ld.param.b64 %d1, [arguments];
    system.print %d2, %d0, %d1;
    cvt.u32.u64 %n, %d2;
    st.param.b32 [count], %n;
    ret;
}
.func __assertfail(
    .param .b64 message, .param .b64 file, .param .b32 line, .param .b64 function, .param .b64 char_size
) {
    .reg .b64 %d<4>;
    .reg .b32 %line;
    ld.param.b64 %d0, [message];
    ld.param.b64 %d1, [file];
    ld.param.b32 %line, [line];
    cvt.u64.u32 %d2, %line;
    ld.param.b64 %d3, [function];
    system.assert %d0, %d1, %d2, %d3;
    ret;
}
.func (.param .b64 at) malloc(.param .b64 bytes) {
    .reg .b64 %d<2>;
    ld.param.b64 %d0, [bytes];
    system.malloc %d1, %d0;
    st.param.b64 [at], %d1;
    ret;
}
.func free(.param .b64 at) {
    .reg .b64 %d;
    ld.param.b64 %d, [at];
    system.free %d;
    ret;
}
.func (.param .b64 handle) cudaCGGetIntrinsicHandle(.param .b32 scope) {
    .reg .b64 %d;
    mov.u64 %d, 1;
    st.param.b64 [handle], %d;
    ret;
}
.func (.param .b32 status) cudaCGSynchronize(.param .b64 handle, .param .b32 flags) {
    .reg .b32 %r;
    system.sync_grid;
    mov.u32 %r, 0;
    st.param.b32 [status], %r;
    ret;
}
";
const NAMES: [&str; 6] = ["vprintf", "__assertfail", "malloc", "free", "cudaCGGetIntrinsicHandle", "cudaCGSynchronize"];

/// Adds those of the device's own functions that a text calls and does not define.
pub fn add_provided(ast: &mut Ast) -> Result<()> {
    let calls = |name: &str| {
        let mut stmts = ast.functions.iter().flat_map(|f| &f.body);
        stmts.any(|stmt| match stmt {
            Stmt::Instr(i) => i.operands.iter().any(|o| matches!(o, Operand::Name { name: n, .. } if n == name)),
            Stmt::Label(_) => false,
        })
    };
    let wanted = |name: &str| !ast.functions.iter().any(|f| f.name == name) && calls(name);
    if !NAMES.into_iter().any(wanted) {
        return Ok(());
    }
    let mut parser = Parser::new(TEXT)?;
    // Numbers of variables that the text has none of.
    parser.vars = 1 << 32;
    let mut own = parser.module()?.functions;
    own.retain(|f| wanted(&f.name));
    // Their lines are none of the text's.
    for stmt in own.iter_mut().flat_map(|f| &mut f.body) {
        if let Stmt::Instr(instr) = stmt {
            instr.line = 0;
        }
    }
    ast.functions.extend(own);
    Ok(())
}
