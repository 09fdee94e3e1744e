// RUN: attnc-opt %s -p simplify-algebra,recognize-norms,remove-unused --split-input-file --print-debuginfo | filecheck %s

// LayerNorm as ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, Mul, Add: one operation, located at all.
// CHECK:      %{{.*}} = nn.constant dense<1.000000e+00> : tensor<4xf32>
// CHECK-NEXT: %{{.*}} = nn.constant dense<5.000000e-01> : tensor<4xf32>
// CHECK-NEXT: %{{.*}} = nn.layer_norm %x scale %{{.*}} : tensor<4xf32> bias %{{.*}} : tensor<4xf32> axis 1 epsilon 1.000000e-05 {value = "y"} : tensor<2x4xf32> -> tensor<2x4xf32> loc(fused["mean", "sub", "pow", "variance", "add", "sqrt", "div", "scale", "bias"])
// CHECK-NEXT: func.return %{{.*}}
func.func @main(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %two = nn.constant dense<2.0> : tensor<f32>
  %epsilon = nn.constant dense<1.0e-5> : tensor<f32>
  %scale = nn.constant dense<1.0> : tensor<4xf32>
  %bias = nn.constant dense<0.5> : tensor<4xf32>
  %mean = nn.reduce mean %x axes [1] : tensor<2x4xf32> -> tensor<2x1xf32> loc("mean")
  %centred = nn.map "sub"(%x, %mean) : (tensor<2x4xf32>, tensor<2x1xf32>) -> tensor<2x4xf32> loc("sub")
  %square = nn.map "pow"(%centred, %two) : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32> loc("pow")
  %variance = nn.reduce mean %square axes [1] : tensor<2x4xf32> -> tensor<2x1xf32> loc("variance")
  %sum = nn.map "add"(%variance, %epsilon) : (tensor<2x1xf32>, tensor<f32>) -> tensor<2x1xf32> loc("add")
  %root = nn.map "sqrt"(%sum) : (tensor<2x1xf32>) -> tensor<2x1xf32> loc("sqrt")
  %quotient = nn.map "div"(%centred, %root) : (tensor<2x4xf32>, tensor<2x1xf32>) -> tensor<2x4xf32> loc("div")
  %scaled = nn.map "mul"(%quotient, %scale) : (tensor<2x4xf32>, tensor<4xf32>) -> tensor<2x4xf32> loc("scale")
  %y = nn.map "add"(%scaled, %bias) {value = "y"} : (tensor<2x4xf32>, tensor<4xf32>) -> tensor<2x4xf32> loc("bias")
  func.return %y : tensor<2x4xf32>
}

// -----

// RMSNorm of half-precision values, computed in float32, with the scale before the reciprocal root.
// CHECK:      %{{.*}} = nn.rms_norm %x scale %{{.*}} : tensor<4xf16> axis 1 epsilon 1.000000e-06 : tensor<2x4xf16> -> tensor<2x4xf32>
// CHECK-NEXT: func.return %{{.*}}
func.func @main(%x: tensor<2x4xf16>) -> tensor<2x4xf32> {
  %epsilon = nn.constant dense<1.0e-6> : tensor<f32>
  %scale = nn.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf16>
  %wide = nn.cast %x : tensor<2x4xf16> to tensor<2x4xf32>
  %square = nn.map "mul"(%wide, %wide) : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %mean = nn.reduce mean %square axes [1] : tensor<2x4xf32> -> tensor<2x1xf32>
  %sum = nn.map "add"(%epsilon, %mean) : (tensor<f32>, tensor<2x1xf32>) -> tensor<2x1xf32>
  %root = nn.map "rsqrt"(%sum) : (tensor<2x1xf32>) -> tensor<2x1xf32>
  %factor = nn.map "mul"(%root, %scale) : (tensor<2x1xf32>, tensor<4xf16>) -> tensor<2x4xf32>
  %y = nn.map "mul"(%factor, %wide) : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  func.return %y : tensor<2x4xf32>
}

// -----

// Not a norm: the mean is taken over other axes than the variance.
// CHECK-NOT: nn.layer_norm
// CHECK: nn.rms_norm
func.func @main(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %epsilon = nn.constant dense<1.0e-5> : tensor<f32>
  %mean = nn.reduce mean %x axes [0] : tensor<2x4xf32> -> tensor<1x4xf32>
  %centred = nn.map "sub"(%x, %mean) : (tensor<2x4xf32>, tensor<1x4xf32>) -> tensor<2x4xf32>
  %square = nn.map "mul"(%centred, %centred) : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %variance = nn.reduce mean %square axes [1] : tensor<2x4xf32> -> tensor<2x1xf32>
  %sum = nn.map "add"(%variance, %epsilon) : (tensor<2x1xf32>, tensor<f32>) -> tensor<2x1xf32>
  %root = nn.map "sqrt"(%sum) : (tensor<2x1xf32>) -> tensor<2x1xf32>
  %y = nn.map "div"(%centred, %root) : (tensor<2x4xf32>, tensor<2x1xf32>) -> tensor<2x4xf32>
  func.return %y : tensor<2x4xf32>
}

// -----

// A sum with something that is no parameter row stays outside the norm.
// CHECK: nn.layer_norm %x axis 1 epsilon 1.000000e-05 : tensor<2x4xf32> -> tensor<2x4xf32>
// CHECK: nn.map "add"
func.func @main(%x: tensor<2x4xf32>, %r: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %n = nn.layer_norm %x axis 1 epsilon 1.0e-5 : tensor<2x4xf32> -> tensor<2x4xf32>
  %y = nn.map "add"(%n, %r) : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  func.return %y : tensor<2x4xf32>
}
