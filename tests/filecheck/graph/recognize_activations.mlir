// RUN: attnc-opt %s -p recognize-activations,remove-unused --split-input-file --print-debuginfo | filecheck %s

// GELU as x * 0.5 * (1 + erf(x / sqrt(2))).
// CHECK:      %{{.*}} = nn.map "gelu"(%x) {value = "y"} : (tensor<4xf32>) -> tensor<4xf32> loc(fused["half", "div", "erf", "one", "mul"])
// CHECK-NEXT: func.return %{{.*}}
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %root = nn.constant dense<1.41421354> : tensor<f32>
  %half = nn.constant dense<0.5> : tensor<f32>
  %one = nn.constant dense<1.0> : tensor<f32>
  %0 = nn.map "div"(%x, %root) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32> loc("div")
  %1 = nn.map "erf"(%0) : (tensor<4xf32>) -> tensor<4xf32> loc("erf")
  %2 = nn.map "add"(%1, %one) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32> loc("one")
  %3 = nn.map "mul"(%x, %half) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32> loc("half")
  %y = nn.map "mul"(%3, %2) {value = "y"} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32> loc("mul")
  func.return %y : tensor<4xf32>
}

// -----

// The same with the terms multiplied out: 0.5 * x + 0.5 * x * erf(x * 0.7071).
// CHECK:      nn.map "gelu"(%x)
// CHECK-NEXT: func.return
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %root = nn.constant dense<0.707106769> : tensor<f32>
  %half = nn.constant dense<0.5> : tensor<f32>
  %0 = nn.map "mul"(%x, %root) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %1 = nn.map "erf"(%0) : (tensor<4xf32>) -> tensor<4xf32>
  %2 = nn.map "mul"(%half, %x) : (tensor<f32>, tensor<4xf32>) -> tensor<4xf32>
  %3 = nn.map "mul"(%2, %1) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %y = nn.map "add"(%2, %3) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  func.return %y : tensor<4xf32>
}

// -----

// The tanh form, x being itself a sum.
// CHECK:      %{{.*}} = nn.map "add"(%a, %b)
// CHECK-NEXT: %{{.*}} = nn.map "gelu_tanh"(%{{.*}})
// CHECK-NEXT: func.return %{{.*}}
func.func @main(%a: tensor<4xf32>, %b: tensor<4xf32>) -> tensor<4xf32> {
  %cube = nn.constant dense<0.044715> : tensor<f32>
  %slope = nn.constant dense<0.797884583> : tensor<f32>
  %half = nn.constant dense<0.5> : tensor<f32>
  %one = nn.constant dense<1.0> : tensor<f32>
  %three = nn.constant dense<3.0> : tensor<f32>
  %x = nn.map "add"(%a, %b) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %0 = nn.map "pow"(%x, %three) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %1 = nn.map "mul"(%0, %cube) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %2 = nn.map "add"(%x, %1) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %3 = nn.map "mul"(%2, %slope) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %4 = nn.map "tanh"(%3) : (tensor<4xf32>) -> tensor<4xf32>
  %5 = nn.map "add"(%4, %one) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %6 = nn.map "mul"(%x, %5) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %y = nn.map "mul"(%6, %half) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  func.return %y : tensor<4xf32>
}

// -----

// SiLU as x * sigmoid(x) and as x / (1 + exp(-x)).
// CHECK:      nn.map "silu"(%x)
// CHECK-NEXT: nn.map "silu"(%{{.*}})
// CHECK-NEXT: func.return %{{.*}}
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %one = nn.constant dense<1.0> : tensor<f32>
  %0 = nn.map "sigmoid"(%x) : (tensor<4xf32>) -> tensor<4xf32>
  %1 = nn.map "mul"(%x, %0) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %2 = nn.map "neg"(%1) : (tensor<4xf32>) -> tensor<4xf32>
  %3 = nn.map "exp"(%2) : (tensor<4xf32>) -> tensor<4xf32>
  %4 = nn.map "add"(%one, %3) : (tensor<f32>, tensor<4xf32>) -> tensor<4xf32>
  %y = nn.map "div"(%1, %4) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  func.return %y : tensor<4xf32>
}

// -----

// Another slope is another function.
// CHECK-NOT: gelu
// CHECK-NOT: silu
// CHECK: nn.map "sigmoid"
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %slope = nn.constant dense<1.702> : tensor<f32>
  %0 = nn.map "mul"(%x, %slope) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %1 = nn.map "sigmoid"(%0) : (tensor<4xf32>) -> tensor<4xf32>
  %y = nn.map "mul"(%x, %1) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  func.return %y : tensor<4xf32>
}
