// RUN: attnc-opt %s | attnc-opt | filecheck %s
// RUN: attnc-opt %s --print-op-generic | attnc-opt | filecheck %s

func.func @main(%x: tensor<1x17x64xf32>, %row: tensor<64xf32>, %heads: tensor<1x4x17x16xf32>, %ids: tensor<1x16xi32>, %bytes: tensor<2x64xi8>, %zeros: tensor<64xui8>, %truth: tensor<1x17x64xi1>) {
  // CHECK: nn.constant dense<5.000000e-01> : tensor<f32>
  %half = nn.constant dense<5.000000e-01> : tensor<f32>
  // CHECK-NEXT: nn.constant dense<[true, false]> : tensor<2xi1>
  %flags = nn.constant dense<[true, false]> : tensor<2xi1>
  // CHECK-NEXT: nn.constant #nn.ref<"encoder.0.query.weight"> {path = "encoder.0.attention.q"} : tensor<64x64xf32>
  %weight = nn.constant #nn.ref<"encoder.0.query.weight"> {path = "encoder.0.attention.q"} : tensor<64x64xf32>
  // CHECK-NEXT: nn.map "add"(%{{.*}}, %{{.*}}) {value = "sum"} : (tensor<1x17x64xf32>, tensor<64xf32>) -> tensor<1x17x64xf32>
  %0 = nn.map "add"(%x, %row) {value = "sum"} : (tensor<1x17x64xf32>, tensor<64xf32>) -> tensor<1x17x64xf32>
  // CHECK-NEXT: nn.map "select"(%{{.*}}, %{{.*}}, %{{.*}}) : (tensor<1x17x64xi1>, tensor<1x17x64xf32>, tensor<f32>) -> tensor<1x17x64xf32>
  %1 = nn.map "select"(%truth, %x, %half) : (tensor<1x17x64xi1>, tensor<1x17x64xf32>, tensor<f32>) -> tensor<1x17x64xf32>
  // CHECK-NEXT: nn.cast %{{.*}} : tensor<1x17x64xf32> to tensor<1x17x64xi8>
  %2 = nn.cast %x : tensor<1x17x64xf32> to tensor<1x17x64xi8>
  // CHECK-NEXT: nn.reduce mean %{{.*}} axes [2] : tensor<1x17x64xf32> -> tensor<1x17x1xf32>
  %3 = nn.reduce mean %x axes [2] : tensor<1x17x64xf32> -> tensor<1x17x1xf32>
  // CHECK-NEXT: nn.reduce sum %{{.*}} axes [1, 2] : tensor<1x17x64xi1> -> tensor<1x1x1xi32>
  %4 = nn.reduce sum %truth axes [1, 2] : tensor<1x17x64xi1> -> tensor<1x1x1xi32>
  // CHECK-NEXT: nn.softmax %{{.*}} axis 2 : tensor<1x17x64xf32> -> tensor<1x17x64xf32>
  %5 = nn.softmax %x axis 2 : tensor<1x17x64xf32> -> tensor<1x17x64xf32>
  // CHECK-NEXT: nn.softmax %{{.*}} axis 2 empty_row zero : tensor<1x17x64xf32> -> tensor<1x17x64xf32>
  %6 = nn.softmax %x axis 2 empty_row zero : tensor<1x17x64xf32> -> tensor<1x17x64xf32>
  // CHECK-NEXT: nn.layer_norm %{{.*}} scale %{{.*}} : tensor<64xf32> bias %{{.*}} : tensor<64xf32> axis 2 epsilon 1.000000e-05 : tensor<1x17x64xf32> -> tensor<1x17x64xf32>
  %7 = nn.layer_norm %x scale %row : tensor<64xf32> bias %row : tensor<64xf32> axis 2 epsilon 1.000000e-05 : tensor<1x17x64xf32> -> tensor<1x17x64xf32>
  // CHECK-NEXT: nn.layer_norm %{{.*}} axis 1 epsilon 1.000000e-05 : tensor<1x17x64xf32> -> tensor<1x17x64xf32>
  %8 = nn.layer_norm %x axis 1 epsilon 1.000000e-05 : tensor<1x17x64xf32> -> tensor<1x17x64xf32>
  // CHECK-NEXT: nn.rms_norm %{{.*}} scale %{{.*}} : tensor<64xf32> axis 2 epsilon 1.000000e-06 : tensor<1x17x64xf32> -> tensor<1x17x64xbf16>
  %9 = nn.rms_norm %x scale %row : tensor<64xf32> axis 2 epsilon 1.000000e-06 : tensor<1x17x64xf32> -> tensor<1x17x64xbf16>
  // CHECK-NEXT: nn.matmul %{{.*}}, %{{.*}} : (tensor<1x17x64xf32>, tensor<64x64xf32>) -> tensor<1x17x64xf32>
  %10 = nn.matmul %x, %weight : (tensor<1x17x64xf32>, tensor<64x64xf32>) -> tensor<1x17x64xf32>
  // CHECK-NEXT: nn.matmul %{{.*}}, %{{.*}} transpose_rhs : (tensor<2x64xi8>, tensor<2x64xi8>) -> tensor<2x2xi32>
  %11 = nn.matmul %bytes, %bytes transpose_rhs : (tensor<2x64xi8>, tensor<2x64xi8>) -> tensor<2x2xi32>
  // CHECK-NEXT: nn.matmul %{{.*}}, %{{.*}} transpose_rhs structure "2:4" : (tensor<2x64xi8>, tensor<2x64xi8>) -> tensor<2x2xi32>
  %sparse = nn.matmul %bytes, %bytes transpose_rhs structure "2:4" : (tensor<2x64xi8>, tensor<2x64xi8>) -> tensor<2x2xi32>
  // CHECK-NEXT: nn.transpose %{{.*}} permutation [0, 2, 1, 3] : tensor<1x4x17x16xf32> -> tensor<1x17x4x16xf32>
  %12 = nn.transpose %heads permutation [0, 2, 1, 3] : tensor<1x4x17x16xf32> -> tensor<1x17x4x16xf32>
  // CHECK-NEXT: nn.reshape %{{.*}} : tensor<1x17x4x16xf32> to tensor<1x17x64xf32>
  %13 = nn.reshape %12 : tensor<1x17x4x16xf32> to tensor<1x17x64xf32>
  // CHECK-NEXT: nn.broadcast %{{.*}} : tensor<64xf32> to tensor<3x64xf32>
  %14 = nn.broadcast %row : tensor<64xf32> to tensor<3x64xf32>
  // CHECK-NEXT: nn.slice %{{.*}} starts [0, 16, 0] steps [1, -1, 2] : tensor<1x17x64xf32> -> tensor<1x17x32xf32>
  %15 = nn.slice %x starts [0, 16, 0] steps [1, -1, 2] : tensor<1x17x64xf32> -> tensor<1x17x32xf32>
  // CHECK-NEXT: nn.concat(%{{.*}}, %{{.*}}) axis 1 : (tensor<1x17x64xf32>, tensor<1x17x64xf32>) -> tensor<1x34x64xf32>
  %16 = nn.concat(%x, %13) axis 1 : (tensor<1x17x64xf32>, tensor<1x17x64xf32>) -> tensor<1x34x64xf32>
  // CHECK-NEXT: nn.pad %{{.*}} with %{{.*}} : tensor<f32> low [0, 0, 1] high [0, 2, 0] : tensor<1x17x64xf32> -> tensor<1x19x65xf32>
  %17 = nn.pad %x with %half : tensor<f32> low [0, 0, 1] high [0, 2, 0] : tensor<1x17x64xf32> -> tensor<1x19x65xf32>
  // CHECK-NEXT: nn.windows %{{.*}} kernel [3, 2] strides [2, 2] dilations [2, 1] : tensor<1x4x17x16xf32> -> tensor<1x4x7x8x3x2xf32>
  %18 = nn.windows %heads kernel [3, 2] strides [2, 2] dilations [2, 1] : tensor<1x4x17x16xf32> -> tensor<1x4x7x8x3x2xf32>
  // CHECK-NEXT: nn.gather_rows %{{.*}}[%{{.*}}] limit 60 : (tensor<64x64xf32>, tensor<1x16xi32>) -> tensor<1x16x64xf32>
  %19 = nn.gather_rows %weight[%ids] limit 60 : (tensor<64x64xf32>, tensor<1x16xi32>) -> tensor<1x16x64xf32>
  // CHECK-NEXT: nn.greatest 5 of %{{.*}} : tensor<1x17x64xf32> -> tensor<1x17x5xi32>
  %greatest = nn.greatest 5 of %x : tensor<1x17x64xf32> -> tensor<1x17x5xi32>
  %least = nn.slice %x starts [0, 0, 0] steps [1, 1, 1] : tensor<1x17x64xf32> -> tensor<1x17x1xf32>
  // CHECK: nn.greatest 5 of %{{.*}} least %{{.*}} : tensor<1x17x1xf32> : tensor<1x17x64xf32> -> tensor<1x17x5xi32> number tensor<1x17x1xi32>
  %above, %number = nn.greatest 5 of %x least %least : tensor<1x17x1xf32> : tensor<1x17x64xf32> -> tensor<1x17x5xi32> number tensor<1x17x1xi32>
  // CHECK-NEXT: nn.iota axis 1 : tensor<1x16xi32>
  %20 = nn.iota axis 1 : tensor<1x16xi32>
  // CHECK-NEXT: nn.cumsum %{{.*}} axis 1 exclusive reverse : tensor<1x16xi32> -> tensor<1x16xi32>
  %21 = nn.cumsum %20 axis 1 exclusive reverse : tensor<1x16xi32> -> tensor<1x16xi32>
  // CHECK-NEXT: nn.quantize %{{.*}} scale %{{.*}} : tensor<f32> : tensor<1x17x64xf32> -> tensor<1x17x64xi8>
  %22 = nn.quantize %x scale %half : tensor<f32> : tensor<1x17x64xf32> -> tensor<1x17x64xi8>
  // CHECK-NEXT: nn.quantize %{{.*}} scale %{{.*}} : tensor<64xf32> zero_point %{{.*}} : tensor<64xui8> axis 2 : tensor<1x17x64xf32> -> tensor<1x17x64xui8>
  %23 = nn.quantize %x scale %row : tensor<64xf32> zero_point %zeros : tensor<64xui8> axis 2 : tensor<1x17x64xf32> -> tensor<1x17x64xui8>
  // CHECK-NEXT: nn.dequantize %{{.*}} scale %{{.*}} : tensor<64xf32> axis 1 : tensor<2x64xi8> -> tensor<2x64xf32>
  %24 = nn.dequantize %bytes scale %row : tensor<64xf32> axis 1 : tensor<2x64xi8> -> tensor<2x64xf32>
  // CHECK-NEXT: nn.dynamic_quantize %{{.*}} : tensor<1x17x64xf32> -> tensor<1x17x64xui8>, tensor<f32>, tensor<ui8>
  %25, %26, %27 = nn.dynamic_quantize %x : tensor<1x17x64xf32> -> tensor<1x17x64xui8>, tensor<f32>, tensor<ui8>
  func.return
}
