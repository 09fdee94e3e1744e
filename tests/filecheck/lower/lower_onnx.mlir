// RUN: attnc-opt -p lower-onnx %s | filecheck %s

// Constants are made where they are first used; int64 becomes i32; a value has the name that the model gives it.
// CHECK-LABEL: func.func @main(%{{.*}}: tensor<1x4xi32>, %{{.*}}: tensor<1x4xi1>) -> tensor<1x4x2xf32>
// CHECK: [[TABLE:%.*]] = nn.constant dense<{{.*}}> : tensor<3x2xf32>
// CHECK: [[ROWS:%.*]] = nn.gather_rows [[TABLE]][%{{.*}}] limit 3 {value = "rows"}
// CHECK: [[COLUMN:%.*]] = nn.reshape %{{.*}} {value = "column"} : tensor<1x4xi1> to tensor<1x4x1xi1>
// CHECK: [[ZERO:%.*]] = nn.constant dense<0.000000e+00> : tensor<f32>
// CHECK: nn.map "select"([[COLUMN]], [[ROWS]], [[ZERO]]) {value = "y"}
func.func @main(%ids : tensor<1x4xi64>, %kept : tensor<1x4xi1>) -> tensor<1x4x2xf32> {
  %table = onnx.Constant dense<[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]> : tensor<3x2xf32>
  %axes = onnx.Constant dense<[2]> : tensor<1xi64>
  %zero = onnx.Constant dense<0.0> : tensor<f32>
  %rows = onnx.Gather(%table, %ids) {axis = 0 : i64} -> ["rows"] since 13 : (tensor<3x2xf32>, tensor<1x4xi64>) -> tensor<1x4x2xf32>
  %column = onnx.Unsqueeze(%kept, %axes) -> ["column"] since 25 : (tensor<1x4xi1>, tensor<1xi64>) -> tensor<1x4x1xi1>
  %y = onnx.Where(%column, %rows, %zero) -> ["y"] since 16 : (tensor<1x4x1xi1>, tensor<1x4x2xf32>, tensor<f32>) -> tensor<1x4x2xf32>
  func.return %y : tensor<1x4x2xf32>
}
